import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { jetstreamManager } from '@nats-io/jetstream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runCli } from '../../src/cli/program.ts'
import { parseExportLine } from '../../src/verify/exportLine.ts'
import { formatVkey } from '../../src/verify/vkey.ts'
import { createSampleHistory, type History, toEncrypted } from '../fixtures/ledgerHistory.ts'
import { type LedgerServer, startLedgerServer } from '../fixtures/ledgerServer.ts'
import { NO_SERVICES } from '../fixtures/noServices.ts'

/** What reads the ledger on the command line, from the streams of a real server. */

let dir: string
let ledger: LedgerServer
let history: History
/** Commits 1 to 12 and the roll, 13, in the first stream; 14 to 18 in the second. */
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-commands-'))
  ledger = await startLedgerServer()
  await mkdir(join(dir, 'data', 'secrets'), { recursive: true })
  await writeFile(join(dir, 'data', 'secrets', 'nats-auditor'), `${ledger.login.pass}\n`)
  history = createSampleHistory(9)
  history.rolled('KMS_LEDGER_2')
  for (let n = 0; n < 5; n += 1) history.append([toEncrypted(1000 + n)])
})
afterEach(async () => {
  await ledger[Symbol.asyncDispose]()
  await rm(dir, { recursive: true, force: true })
})

const run = async (...args: readonly string[]) => {
  // Nobody reads before the command has ended.
  const [stdout, stderr] = [new PassThrough({ highWaterMark: 2 ** 24 }), new PassThrough()]
  const env = { KMS_DATA_DIR: join(dir, 'data'), KMS_NATS_PORT: String(ledger.server.port), KMS_HTTP_PORT: '1' }
  const terminal = { stdin: Readable.from([]), stdout, stderr, showsProgress: false, env, root: dir }
  const code = await runCli(['ledger', ...args], terminal, NO_SERVICES)
  return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') }
}
const verify = (...args: readonly string[]) => run('verify', '--root-key', formatVkey(history.pin), ...args)
const at = (name: string): string => join(dir, name)
/** The stream and sequence of each line. */
const placesOf = (lines: string): readonly string[] =>
  lines
    .trimEnd()
    .split('\n')
    .map((line) => {
      const message = parseExportLine(Buffer.from(line))
      return message.ok ? `${message.value.stream}/${message.value.seq}` : message.error
    })
const placesFrom = (from: number): readonly string[] =>
  history.messages.slice(from - 1).map(({ stream, seq }) => `${stream}/${seq}`)

describe('a ledger in two streams', () => {
  beforeEach(() => ledger.put(history.messages))

  it('is verified as one, and each line of its export names its stream', async () => {
    expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining('unanchored tail 1..18') })
    const exported = await run('export')
    expect(exported).toMatchObject({ code: 0, stderr: '' })
    expect(placesOf(exported.stdout)).toEqual(placesFrom(1))
    await writeFile(at('all.jsonl'), exported.stdout)
    expect(await verify('--file', at('all.jsonl'))).toMatchObject({ code: 1 })
  })

  it('is archived as one, by and by, and the archive verifies', async () => {
    expect(await run('archive', at('archive'), '--stream', 'KMS_LEDGER')).toMatchObject({ code: 0 })
    const went = await run('archive', at('archive'))
    expect(went).toMatchObject({ code: 0, stdout: 'archived 14..18 as segments 2..2\n' })
    const segments = ['00000001.jsonl', '00000002.jsonl'].map((name) => readFile(join(dir, 'archive', name), 'utf8'))
    expect(placesOf((await Promise.all(segments)).join(''))).toEqual(placesFrom(1))
    expect(await verify('--file', at('archive'))).toMatchObject({
      ...{ code: 1, stdout: expect.stringContaining('unanchored tail 1..18') },
    })
  })

  it('is verified one stream at a time, each from where the other ended', async () => {
    const resumed = ['--resume', at('state.json')]
    expect(await verify('--stream', 'KMS_LEDGER', ...resumed)).toMatchObject({
      ...{ code: 1, stdout: expect.stringContaining('unanchored tail 1..13') },
    })
    const next = await verify('--stream', 'KMS_LEDGER_2', ...resumed)
    expect(next.stdout).toMatch(/^resumed after 13,/)
    expect(next).toMatchObject({ code: 1, stdout: expect.stringContaining('unanchored tail 1..18') })
    expect(await verify('--stream', 'KMS_LEDGER_2')).toMatchObject({ code: 3 })
  })

  it('is FAIL where what follows the roll is in another stream than it names', async () => {
    await using other = await startLedgerServer()
    const moved = history.messages.map((one) => (one.seq > 13 ? { ...one, stream: 'KMS_LEDGER_3' } : one))
    await other.put(moved)
    const own = ledger
    ledger = other
    const report = await verify()
    ledger = own
    expect(report).toMatchObject({ code: 2, stdout: expect.stringContaining('FAIL at 14') })
  })

  it('is told by mirrors of other names, each taken for the stream that it mirrors', async () => {
    const { streams } = await jetstreamManager(await ledger.connect())
    const mirrors = [
      ['COPY_A', 'KMS_LEDGER', 13],
      ['COPY_B', 'KMS_LEDGER_2', 18],
    ] as const
    for (const [name, source, last] of mirrors) {
      await streams.add({ name, mirror: { name: source } })
      await expect.poll(async () => (await streams.info(name)).state.last_seq, { timeout: 20_000 }).toBe(last)
    }
    expect(await verify('--stream', 'COPY_A', '--resume', at('state.json'))).toMatchObject({ code: 1 })
    const whole = await verify('--stream', 'COPY_B', '--resume', at('state.json'))
    expect(whole).toMatchObject({ code: 1, stdout: expect.stringContaining('unanchored tail 1..18') })
    expect(placesOf((await run('export', '--stream', 'COPY_B')).stdout)).toEqual(placesFrom(14))
  })
})

describe('a ledger whose first stream was archived and deleted', () => {
  beforeEach(async () => {
    await ledger.put(history.messages)
    expect(await run('archive', at('archive'), '--stream', 'KMS_LEDGER')).toMatchObject({ code: 0 })
  })

  it('is not verified without what came before: the error says how', async () => {
    await ledger.remove('KMS_LEDGER')
    const refused = await verify()
    expect(refused).toMatchObject({ code: 3, stdout: '' })
    expect(refused.stderr).toContain('begin at 14, in KMS_LEDGER_2')
    expect(refused.stderr).toContain('`chatelaine ledger verify --file DIR --resume FILE`')
  })

  it('is verified from the archive on, which ends with the roll', async () => {
    await ledger.remove('KMS_LEDGER')
    const resumed = ['--resume', at('state.json')]
    expect(await verify('--file', at('archive'), ...resumed)).toMatchObject({ code: 1 })
    const went = await verify(...resumed, '--json')
    expect(went.code).toBe(1)
    expect(JSON.parse(went.stdout)).toMatchObject({ resumed_after: 13, last_seq: 18, commits: 18, findings: [] })
    // And once more from there.
    expect((await verify(...resumed)).stdout).toMatch(/^resumed after 18,/)
  })

  it('is not verified from a run that ended in the stream that is gone', async () => {
    const lines = (await run('export')).stdout.split('\n').slice(0, 9)
    await writeFile(at('part.jsonl'), `${lines.join('\n')}\n`)
    const resumed = ['--resume', at('state.json')]
    expect(await verify('--file', at('part.jsonl'), ...resumed)).toMatchObject({ code: 1 })
    // While the stream is there it goes on in its middle.
    await writeFile(at('kept.json'), await readFile(at('state.json')))
    const went = await verify('--resume', at('kept.json'))
    expect(went).toMatchObject({ code: 1, stdout: expect.stringContaining('resumed after 9,') })
    await ledger.remove('KMS_LEDGER')
    const refused = await verify(...resumed)
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining('the earlier run ended at 9') })
    // The archive has what is between.
    expect(await verify('--file', at('archive'), ...resumed)).toMatchObject({ code: 1 })
    expect(await verify(...resumed)).toMatchObject({ code: 1, stdout: expect.stringContaining('..18') })
  })

  it('is exported from where it begins, and says so', async () => {
    await ledger.remove('KMS_LEDGER')
    const exported = await run('export')
    expect(exported).toMatchObject({ code: 0, stderr: expect.stringContaining('the export begins at 14') })
    expect(placesOf(exported.stdout)).toEqual(placesFrom(14))
  })

  it('goes on in its archive, and begins no other', async () => {
    await ledger.remove('KMS_LEDGER')
    const refused = await run('archive', at('second'))
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('the archive ends at 0') })
    expect(await run('archive', at('archive'))).toMatchObject({ code: 0 })
    expect(await verify('--file', at('archive'))).toMatchObject({
      ...{ code: 1, stdout: expect.stringContaining('unanchored tail 1..18') },
    })
  })

  it('is still there when the next stream is empty', async () => {
    await ledger.remove('KMS_LEDGER')
    await ledger.remove('KMS_LEDGER_2')
    await ledger.create('KMS_LEDGER_2', 14)
    const resumed = ['--resume', at('state.json')]
    expect(await verify('--file', at('archive'), ...resumed)).toMatchObject({ code: 1 })
    expect(await verify(...resumed)).toMatchObject({ code: 1, stdout: expect.stringContaining('..13') })
    expect(await run('export')).toMatchObject({ code: 0, stdout: '' })
    expect(await run('archive', at('archive'))).toMatchObject({ code: 0 })
  })
})

describe('a first stream that has lost its beginning', () => {
  it('is FAIL, since nothing may take that away', async () => {
    const lost = history.messages.slice(0, 13).filter(({ seq }) => seq > 4)
    await ledger.put(lost)
    expect(await verify()).toMatchObject({
      ...{ code: 2, stdout: expect.stringContaining('FAIL at 1: the messages 1 to 4 are missing') },
    })
  })
})
