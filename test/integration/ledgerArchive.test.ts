import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SUBJECT_CHECKPOINTS } from '../../schemas/streams.ts'
import { archiveLedger } from '../../src/cli/ledgerArchive.ts'
import { openLedgerFiles } from '../../src/cli/ledgerFiles.ts'
import { createReaders } from '../../src/verify/readers.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { addExport } from '../../src/verify/verifyExport.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'

let stack: LedgerStack
let dir: string
beforeEach(async () => {
  stack = await startLedgerStack()
  dir = await mkdtemp(join(tmpdir(), 'kms-archive-'))
})
afterEach(async () => {
  await stack[Symbol.asyncDispose]()
  await rm(dir, { recursive: true, force: true })
})

async function* nothing(): AsyncGenerator<Uint8Array> {}

const archive = async (flags: { readonly checkpoint?: string } = {}) => {
  const { servers, user, pass } = stack.server.login('auditor')
  const passwordFile = join(dir, 'password')
  await writeFile(passwordFile, pass)
  const stdout = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = { stdin: nothing(), stdout, stderr: stdout, showsProgress: false, env: {}, root: dir }
  const settings = {
    ...{ dataDir: dir, servers: [servers], tls: undefined, httpUrl: '', app: undefined, tokenFile: undefined },
    ...{ auditor: { user, passwordFile }, advice: 'start it' },
  }
  const where = { dir: join(dir, 'archive'), stream: 'KMS_LEDGER', checkpoint: undefined, usesNewest: true }
  return archiveLedger(terminal, settings, { ...where, ...flags })
}

describe('an archive with the newest checkpoint of the stream', () => {
  it('ends where the checkpoint does, keeps it, and verifies with it; commits after it are for the next run', async () => {
    expect(await archive()).toMatchObject({ ok: false, error: { message: 'there is no checkpoint yet' } })
    const { ledger, connection } = await stack.openWriter()
    unwrap(await ledger.append(drawRandom(), never))
    const covered = ledger.status().seq
    await until(() => ledger.checkpoint()?.includes(`\n${covered}\n`) === true)
    const note = ledger.checkpoint() ?? ''
    await connection.request(SUBJECT_CHECKPOINTS, note)
    unwrap(await ledger.append(drawRandom(), never))
    unwrap(await ledger.append(drawRandom(), never))
    expect(await archive()).toMatchObject({ ok: true })
    const names = (await readdir(join(dir, 'archive'))).sort()
    expect(names).toEqual(['00000001.checkpoint', '00000001.jsonl'])
    expect(await readFile(join(dir, 'archive', '00000001.checkpoint'), 'utf8')).toBe(note)
    const trust = { pin: stack.pin, anchors: [], witnessKeys: [] }
    const files = unwrap(await openLedgerFiles(join(dir, 'archive'), trust, { stdin: nothing() }))
    const verifier = createVerifier({ pin: stack.pin, anchors: files.anchors })
    for (const { open } of files.files) await addExport(verifier, open(), createReaders(0))
    expect(verifier.finish()).toMatchObject({ lastSeq: covered, findings: [] })
  })

  it('is refused together with a checkpoint from a file, and where the newest message is none', async () => {
    expect(await archive({ checkpoint: 'note' })).toMatchObject({ ok: false, error: { exit: 2 } })
    const connection = await stack.connect('kms-ledger')
    await connection.request(SUBJECT_CHECKPOINTS, 'no note')
    const refused = await archive()
    expect(refused).toMatchObject({ ok: false })
    expect(refused.ok ? '' : refused.error.message).toMatch(/^the newest message of KMS_CHECKPOINTS: /)
  })
})
