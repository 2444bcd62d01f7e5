import { execFile } from 'node:child_process'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findDevConfig } from '../../src/cli/dev/profile.ts'
import { openHsm } from '../../src/cli/openHsm.ts'
import { readOrigin } from '../../src/ledger/genesis.ts'
import { lidOf } from '../fixtures/history.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { openClients } from '../fixtures/stackClients.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'

const run = promisify(execFile)

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack?.[Symbol.asyncDispose]())

/** The command line as an operator has it; a refusal comes as its exit code. */
const cli = async (...args: string[]) => {
  const { KMS_CONFIG: _unused, ...env } = process.env
  const done = run(process.execPath, ['dist/src/cli/main.js', ...args], { env: { ...env, ...stack.env } })
  return done.then(
    ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      stdout: error.stdout,
      stderr: error.stderr,
    }),
  )
}

/** Makes a key in the token behind the service's back, as a crash between HSM and ledger would leave it. */
const plantOrphan = async (): Promise<void> => {
  const env = { ...process.env, ...stack.env }
  const config = await findDevConfig(env)
  const origin = await readOrigin(stack.dataDir)
  if (!config.ok || !origin.ok || origin.value === undefined) throw new Error('no dev profile')
  process.env['SOFTHSM2_CONF'] = env['SOFTHSM2_CONF']
  const hsm = await openHsm({ config: config.value, origin: origin.value, telemetry: createTelemetryLog() })
  try {
    const made = await hsm.execute(
      {
        kind: 'generateKey',
        backend: config.value.hsm.ledger_backend,
        epoch: 1,
        lid: lidOf(9),
        version: 1,
        spec: 'AES_256',
        exportable: false,
      },
      AbortSignal.timeout(20_000),
    )
    if (!made.ok) throw new Error(made.error.message)
  } finally {
    await hsm.close()
  }
}

describe('invariant 12: no orphan, no resurrection', () => {
  test('an object that the ledger does not name is reported at start, kept, and swept only on the operator’s word', async () => {
    await stack.stop()
    await plantOrphan()
    await stack.restart()
    expect(stack.output()).toMatch(new RegExp(`orphan.*${lidOf(9)}|${lidOf(9)}.*orphan`))
    await stack.stop()
    const listed = await cli('sweep')
    expect(listed).toMatchObject({ code: 0 })
    expect(listed.stdout).toContain(lidOf(9))
    const refused = await cli('sweep', '--destroy')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('--yes 1')])
    expect((await cli('sweep', '--destroy', '--yes', '1')).code).toBe(0)
    expect((await cli('sweep')).stdout).toContain('0 objects')
    await stack.restart()
  })

  test('a sweep does not run beside a service that writes', async () => {
    const refused = await cli('sweep')
    expect(refused.code).not.toBe(0)
  })

  test('a key whose material is gone is material_missing, loudly, and no other key suffers', async () => {
    await using clients = await openClients(stack)
    const lost = await clients.nats.createKey({ key_spec: 'AES_256' })
    const before = new Set(await readdir(join(stack.dataDir, 'softhsm', 'tokens'), { recursive: true }))
    const kept = await clients.nats.createKey({ key_spec: 'AES_256' })
    const after = await readdir(join(stack.dataDir, 'softhsm', 'tokens'), { recursive: true })
    const ofKept = after.filter((file) => !before.has(file))
    expect(ofKept.length).toBeGreaterThan(0)
    await stack.stop()
    for (const file of ofKept)
      await rm(join(stack.dataDir, 'softhsm', 'tokens', file), { recursive: true, force: true })
    await stack.restart()
    await using again = await openClients(stack)
    const described = await again.nats.describeKey({ key_id: kept.key.key_id })
    expect(described.key.key_versions.map(({ state }) => state)).toEqual(['material_missing'])
    expect(stack.output()).toContain('material_missing')
    await expect(again.nats.encrypt({ key_id: kept.key.key_id, plaintext: Buffer.from('x') })).rejects.toMatchObject({
      code: 'KEY_NOT_USABLE',
    })
    expect((await again.nats.encrypt({ key_id: lost.key.key_id, plaintext: Buffer.from('x') })).key_version).toBe(1)
  })
})
