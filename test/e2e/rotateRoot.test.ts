import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { must } from '../../src/core/result.ts'
import { parseVkey } from '../../src/verify/vkey.ts'
import { isLongRun } from '../fixtures/counts.ts'
import { judgeHere, judgeInPython } from '../fixtures/pythonVerifier.ts'
import { crashingAt } from '../fixtures/shims.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { runStackCli } from '../fixtures/stackCli.ts'
import { codeOf, openClients } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'
import { readTokenLabels } from '../fixtures/tokenLabels.ts'

const MANY_STARTS_MS = 240_000

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack?.[Symbol.asyncDispose]())

const cli = (args: readonly string[], more: Readonly<Record<string, string>> = {}) => runStackCli(stack, args, more)

/** Objects on the token under the label of roots: two for each root. */
const countRootObjects = async (): Promise<number> =>
  (await readTokenLabels(stack.dataDir)).filter((label) => label.endsWith('/ledger-root')).length

const countRotations = async (): Promise<number> =>
  listEvents(await readLedger(stack)).filter(({ event }) => event.type === 'RootRotated').length

/** What the service does after it: an old key works, a new one is made, and nothing is wrong with the ledger. */
const expectWorking = async (ciphertext: Uint8Array): Promise<void> => {
  await using clients = await openClients(stack)
  expect(await codeOf(clients.rest.decrypt({ ciphertext_blob: ciphertext, encryption_context: { a: 'b' } }))).toBe('OK')
  expect(await codeOf(clients.rest.createKey({ key_spec: 'AES_256' }))).toBe('OK')
  expect((await readLedger(stack)).report.findings).toEqual([])
}

const protect = async (): Promise<Uint8Array> => {
  await using clients = await openClients(stack)
  const { key } = await clients.rest.createKey({ key_spec: 'AES_256' })
  const request = { key_id: key.key_id, plaintext: Buffer.from('before'), encryption_context: { a: 'b' } }
  return (await clients.rest.encrypt(request)).ciphertext_blob
}

describe('ledger rotate-root', () => {
  test(
    'killed at any step is run again or finished by a start, with one rotation and one new root; twice, and former roots go',
    async () => {
      const ciphertext = await protect()
      expect(await cli(['ledger', 'rotate-root', '--yes'])).toMatchObject({ code: 1 })
      await stack.stop()
      const shown = await cli(['ledger', 'rotate-root'])
      expect(shown).toMatchObject({ code: 0, stderr: '' })
      expect(shown.stdout).toContain('nothing was written')

      const crash = async (text: string, when: 'before' | 'after') =>
        expect(await cli(['ledger', 'rotate-root', '--yes'], crashingAt(text, when)), `${when} ${text}`).toMatchObject({
          signal: 'SIGKILL',
        })
      // After one step is before the next, except where its answer is lost.
      if (isLongRun) await crash('signCheckpoint', 'after')
      for (const text of isLongRun ? ['createNextRoot', 'chatelaine/root/v1'] : [])
        for (const when of ['before', 'after'] as const) await crash(text, when)
      await crash('chatelaine/sign/v1', 'after')
      await crash('RootRotated', 'before')
      expect(await countRootObjects()).toBe(4)
      // The commit is there from here on; what follows is the checkpoint by the new root.
      await crash('RootRotated', 'after')
      if (isLongRun) for (const when of ['before', 'after'] as const) await crash('signCheckpoint', when)
      const finished = await cli(['ledger', 'rotate-root', '--yes'])
      expect(finished).toMatchObject({ code: 0, stderr: '' })
      expect(finished.stdout).toMatch(/rotated: sequence \d+/)
      await stack.restart()
      expect(await countRotations()).toBe(1)
      expect(await countRootObjects()).toBe(4)
      await expectWorking(ciphertext)

      // The second one is finished by a start.
      await stack.stop()
      await crash('RootRotated', 'after')
      await stack.restart()
      expect(await countRotations()).toBe(2)
      expect(await countRootObjects()).toBe(6)
      await expectWorking(ciphertext)

      await stack.stop()
      const listed = await cli(['ledger', 'destroy-former-roots'])
      expect(listed).toMatchObject({ code: 0, stderr: '' })
      expect(listed.stdout.match(/is not in force any more/g)).toHaveLength(2)
      expect(await countRootObjects()).toBe(6)
      expect(await cli(['ledger', 'destroy-former-roots', '--yes'])).toMatchObject({ code: 0, stderr: '' })
      expect(await countRootObjects()).toBe(2)
      await stack.restart()
      await expectWorking(ciphertext)
    },
    MANY_STARTS_MS,
  )

  test('leaves a ledger that both verifiers find good by the first root key', async () => {
    expect(await countRotations()).toBe(2)
    const exported = await cli(['ledger', 'export'])
    expect(exported.code).toBe(0)
    const pin = parseVkey((await readFile(join(stack.dataDir, 'ledger-root.vkey'), 'utf8')).trim())
    must(pin.ok, 'the pin is the one of genesis')
    const given = { pin: pin.value, lines: exported.stdout }
    const here = await judgeHere(given)
    expect(here).toMatchObject({ exit: 1, findings: [] })
    expect(await judgeInPython([given])).toEqual([here])
    expect((await cli(['ledger', 'verify'])).code).toBeLessThanOrEqual(1)
  })
})
