import { mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { must } from '../../src/core/result.ts'
import { parseVkey } from '../../src/verify/vkey.ts'
import { isLongRun } from '../fixtures/counts.ts'
import { judgeHere, judgeInPython } from '../fixtures/pythonVerifier.ts'
import { crashingAt } from '../fixtures/shims.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { runStackCli } from '../fixtures/stackCli.ts'
import { codeOf, connectAs, openClients } from '../fixtures/stackClients.ts'

const MANY_STARTS_MS = 240_000

let stack: Stack
let archive: string
beforeAll(async () => {
  stack = await startStack()
  archive = join(await mkdtemp(join(tmpdir(), 'kms-archive-')), 'ledger')
})
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]()
  if (archive !== undefined) await rm(join(archive, '..'), { recursive: true, force: true })
})

const cli = (args: readonly string[], more: Readonly<Record<string, string>> = {}) => runStackCli(stack, args, more)
const ledger = (name: string, ...more: readonly string[]) => cli(['ledger', name, '--archive', archive, ...more])

const listStreams = async (): Promise<readonly string[]> => {
  const connection = await connectAs(stack, 'provision')
  const names = await (await jetstreamManager(connection)).streams.names().next()
  await connection.close()
  return names.filter((name) => name.startsWith('KMS_LEDGER')).sort()
}

const protect = async (): Promise<Uint8Array> => {
  await using clients = await openClients(stack)
  const { key } = await clients.rest.createKey({ key_spec: 'AES_256' })
  const request = { key_id: key.key_id, plaintext: Buffer.from('before'), encryption_context: { a: 'b' } }
  return (await clients.rest.encrypt(request)).ciphertext_blob
}
const expectWorking = async (ciphertext: Uint8Array): Promise<void> => {
  await using clients = await openClients(stack)
  expect(await codeOf(clients.rest.decrypt({ ciphertext_blob: ciphertext, encryption_context: { a: 'b' } }))).toBe('OK')
  expect(await codeOf(clients.rest.createKey({ key_spec: 'AES_256' }))).toBe('OK')
}

describe('ledger roll', () => {
  test(
    'killed at any step is run again; what was made before works in the next stream',
    async () => {
      const ciphertext = await protect()
      expect((await ledger('roll', '--yes')).stderr).toMatch(/already runs|stop it first/)
      await stack.stop()
      const head = join(stack.dataDir, 'head.json')
      await rename(head, `${head}.away`)
      expect((await ledger('roll', '--yes')).stderr).toContain('nothing here tells whether this is the whole ledger')
      await rename(`${head}.away`, head)
      const shown = await ledger('roll')
      expect(shown).toMatchObject({ code: 0, stderr: '' })
      expect(shown.stdout).toContain('nothing was written')

      const crash = async (text: string, when: 'before' | 'after') =>
        expect(
          await cli(['ledger', 'roll', '--archive', archive, '--yes'], crashingAt(text, when)),
          `${when} ${text}`,
        ).toMatchObject({ signal: 'SIGKILL' })
      // After one step is before the next, except where its answer is lost.
      if (isLongRun) {
        await crash('EpochOpened', 'after')
        for (const when of ['before', 'after'] as const) await crash('signCheckpoint', when)
        await crash('LedgerRolled', 'before')
      }
      await crash('LedgerRolled', 'after')
      if (isLongRun) for (const when of ['before', 'after'] as const) await crash('STREAM.UPDATE.KMS_LEDGER', when)
      await crash('STREAM.CREATE.KMS_LEDGER_2', 'after')
      await expect(stack.restart()).rejects.toThrow()
      expect(await ledger('roll', '--yes')).toMatchObject({ code: 0, stderr: '' })
      await stack.restart()
      expect(await listStreams()).toEqual(['KMS_LEDGER', 'KMS_LEDGER_2'])
      await expectWorking(ciphertext)
    },
    MANY_STARTS_MS,
  )

  test(
    'again, into the same archive; then the older streams can go, and a machine without tree file is restored',
    async () => {
      const ciphertext = await protect()
      await stack.stop()
      const rolled = await ledger('roll', '--yes')
      expect(rolled).toMatchObject({ code: 0, stderr: '' })
      expect(rolled.stdout).toContain('the ledger goes on in KMS_LEDGER_3')
      const shown = await ledger('drop-stream')
      expect(shown).toMatchObject({ code: 0, stderr: '' })
      expect(shown.stdout).toContain('KMS_LEDGER ends at')
      expect(shown.stdout).toContain('nothing was deleted')
      for (const name of ['KMS_LEDGER', 'KMS_LEDGER_2'])
        expect((await ledger('drop-stream', '--yes')).stdout).toContain(`deleted: ${name}`)
      await stack.restart()
      expect(await listStreams()).toEqual(['KMS_LEDGER_3'])
      await expectWorking(ciphertext)

      await stack.stop()
      await rm(join(stack.dataDir, 'tree'))
      await expect(stack.restart()).rejects.toThrow()
      const restored = await ledger('restore', '--yes')
      expect(restored).toMatchObject({ code: 0, stderr: '' })
      expect(restored.stdout).toMatch(/restored: a snapshot of \d+ was written/)
      await stack.restart()
      await expectWorking(ciphertext)
    },
    MANY_STARTS_MS,
  )

  test('leaves an archive that both verifiers find good by the root key of genesis', async () => {
    const segments = (await readdir(archive)).filter((name) => name.endsWith('.jsonl')).sort()
    const texts = await Promise.all(segments.map((name) => readFile(join(archive, name), 'utf8')))
    const pin = parseVkey((await readFile(join(stack.dataDir, 'ledger-root.vkey'), 'utf8')).trim())
    must(pin.ok, 'the pin is the one of genesis')
    const given = { pin: pin.value, lines: texts.join('') }
    const here = await judgeHere(given)
    expect(here).toMatchObject({ exit: 1, findings: [] })
    expect(await judgeInPython([given])).toEqual([here])
    // Its checkpoints lie where the segments lie, so they vouch for no end.
    const resume = join(archive, '..', 'resume.json')
    expect(await cli(['ledger', 'verify', '--file', archive, '--resume', resume])).toMatchObject({
      code: 1,
      stderr: '',
    })
    const alone = await cli(['ledger', 'verify'])
    expect(alone).toMatchObject({ code: 3, stderr: expect.stringContaining('--resume') })
    const rest = await cli(['ledger', 'verify', '--resume', resume])
    expect(rest).toMatchObject({ code: expect.toSatisfy((code) => code <= 1), stderr: '' })
    expect(rest.stdout).toMatch(/^\d+ valid commits/m)
  })
})
