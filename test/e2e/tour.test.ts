import { expect, test } from 'vitest'
import { ROOT, runShell } from '../../scripts/serviceProcess.ts'

test('the tour leads through the product from end to end without a surprise', async () => {
  const nowhere = { KMS_DATA_DIR: '/nonexistent', KMS_NATS_PORT: '1', KMS_HTTP_PORT: '1' }
  const { code, stdout, stderr } = await runShell(nowhere, ROOT, 'sh scripts/tour.sh', 170_000)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  for (const word of ['ACCESS_DENIED', 'KEY_NOT_USABLE', 'anchored by head file', 'nothing was a surprise'])
    expect(stdout).toContain(word)
  // The commit with the flipped byte is named, whichever sequence the service's own records have left it.
  expect(stdout).toMatch(/FAIL at [0-9]+: head\.events_root is not the root of the events/)
  // It shows every chapter with at least one command line.
  expect(stdout.match(/^\d+\. /gm)).toHaveLength(11)
  expect(stdout.match(/^ {3}\$ chatelaine /gm)?.length).toBeGreaterThanOrEqual(20)
})
