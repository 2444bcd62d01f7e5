import { execFile } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { codeOf, openClients } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

const run = promisify(execFile)

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack?.[Symbol.asyncDispose]())

const forward = async (...flags: string[]): Promise<readonly Record<string, unknown>[]> => {
  const env = { ...process.env, ...stack.env, POSITION_FILE: join(stack.dataDir, 'position.json') }
  const args = ['--import', 'tsx', 'examples/siemForwarder.ts', '--once', ...flags]
  const { stdout } = await run(process.execPath, args, { env, maxBuffer: 16 * 1024 * 1024 })
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

test('the example forwards every event once over two runs, without identity tags', async () => {
  await using clients = await openClients(stack)
  const { key } = await clients.nats.createKey({ key_spec: 'AES_256', attributes: { tenant: 'planted-tenant' } })
  const first = await forward()
  const denied = await codeOf(clients.rest.encrypt({ key_id: `lid_${'00'.repeat(32)}`, plaintext: Buffer.from('x') }))
  expect(denied).not.toBe('OK')
  const { receipt } = await clients.rest.disableKey({ key_id: key.key_id })
  const second = await forward()

  const ledger = await readLedger(stack)
  const places = (lines: readonly Record<string, unknown>[]) =>
    lines.map(({ receipt: at }) => `${Object(at).seq}/${Object(at).index}`)
  const stored = listEvents(ledger).map(({ seq, index }) => `${seq}/${index}`)
  expect([...places(first), ...places(second)]).toEqual(stored)
  expect(second.find(({ type }) => type === 'KeyDisabled')).toMatchObject({ receipt, outcome: 'success' })
  expect(JSON.stringify([first, second])).not.toContain('planted-tenant')
  expect((await stat(join(stack.dataDir, 'position.json'))).mode & 0o777).toBe(0o600)

  await codeOf(clients.rest.encrypt({ key_id: key.key_id, plaintext: Buffer.from('x') }))
  const refused = await forward('--refused')
  expect(refused.map(({ code }) => code)).toEqual(['KEY_NOT_USABLE'])
  expect(JSON.parse(await readFile(join(stack.dataDir, 'position.json'), 'utf8'))).toHaveProperty('chain.hash')
})
