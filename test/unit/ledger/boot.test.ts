import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { checkHead } from '../../../src/ledger/anchors/headCheck.ts'
import { connectNats } from '../../../src/ledger/connections.ts'
import { untilVacant, type WriterAnswer } from '../../../src/ledger/election.ts'
import { createHeadFile, readHeadFile } from '../../../src/ledger/headFile.ts'
import { isRecentEnough } from '../../../src/ledger/server.ts'
import { listDeviations } from '../../../src/ledger/stream.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

/** What nats-server 2.10 and 2.12 say of a stream that `init` made. */
const CONFIG = {
  name: 'KMS_LEDGER',
  subjects: ['kms.ledger.state', 'kms.ledger.usage'],
  retention: 'limits',
  max_consumers: -1,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
  max_msgs_per_subject: -1,
  max_msg_size: -1,
  discard: 'new',
  storage: 'file',
  num_replicas: 1,
  duplicate_window: 120_000_000_000,
  compression: 'none',
  allow_direct: false,
  mirror_direct: false,
  sealed: false,
  deny_delete: true,
  deny_purge: true,
  allow_rollup_hdrs: false,
  consumer_limits: {},
  allow_msg_ttl: false,
  metadata: { '_nats.level': '1' },
}

describe('the configuration of the stream', () => {
  it('as init makes it is no deviation, in any order of subjects', () => {
    expect(listDeviations(CONFIG, 1)).toEqual([])
    expect(listDeviations({ ...CONFIG, subjects: [...CONFIG.subjects].reverse() }, 1)).toEqual([])
  })

  it.each([
    ['retention', 'workqueue'],
    ['storage', 'memory'],
    ['max_age', 1],
    ['max_msgs', 0],
    ['deny_delete', false],
    ['deny_purge', undefined],
    ['sealed', true],
    ['no_ack', true],
    ['mirror', { name: 'OTHER' }],
    ['sources', [{ name: 'OTHER' }]],
    ['subject_transform', { src: '>', dest: 'x.>' }],
    ['republish', { src: '>', dest: 'x.>' }],
    ['allow_rollup_hdrs', true],
    ['allow_msg_ttl', true],
    ['first_seq', 5],
    ['discard_new_per_subject', true],
    ['consumer_limits', { max_ack_pending: 1 }],
    ['num_replicas', 3],
    ['subjects', ['kms.ledger.state']],
    ['a_setting_of_tomorrow', 'on'],
  ])('with another %s is one', (key, value) => {
    const [deviation] = listDeviations({ ...CONFIG, [key]: value }, 1)
    expect(deviation).toContain(key)
  })
})

it.each([
  ['2.10.23', true],
  ['2.10.22', false],
  ['2.9.99', false],
  ['2.11.0', true],
  ['3.0.0-beta.1', true],
  ['v2.12.1', true],
  ['unknown', false],
])('nats-server %s is recent enough: %s', (version, expected) => {
  expect(isRecentEnough(version)).toBe(expected)
})

describe('the head file', () => {
  let directory: string
  let path: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kms-head-'))
    path = join(directory, 'head.json')
  })
  afterEach(() => rm(directory, { recursive: true }))
  const head = (size: number) => ({ origin: 'a/0123456789abcdef', size, hash: 'ab'.repeat(32) })

  it('is written once for all heads of half a second, and at the end', async () => {
    const time = createFakeTime()
    const file = createHeadFile(path, { clock: time, scheduler: time, telemetry: createTelemetryLog() })
    for (let size = 1; size <= 10; size += 1) file.note(head(size))
    await time.advance(400)
    expect(await readHeadFile(path)).toEqual({ ok: true, value: undefined })
    await time.advance(200)
    await expect.poll(() => readHeadFile(path)).toEqual({ ok: true, value: head(10) })
    file.note(head(11))
    await file.close()
    expect(await readHeadFile(path)).toEqual({ ok: true, value: head(11) })
    expect(await readFile(path, 'utf8')).toBe(`${JSON.stringify({ v: 1, ...head(11) })}\n`)
    expect(await readdir(directory)).toEqual(['head.json'])
  })

  it('is tried again when it cannot be written, and that is said', async () => {
    const log = createTelemetryLog()
    const time = createFakeTime()
    await rm(directory, { recursive: true })
    const file = createHeadFile(path, { clock: time, scheduler: time, telemetry: log })
    file.note(head(1))
    await time.advance(600)
    await expect.poll(() => log.text()).toContain('the head file could not be written')
    directory = await mkdtemp(join(tmpdir(), 'kms-head-'))
    await file.close()
  })

  it('says init is missing when neither it nor a ledger is there', () => {
    const found = { origin: 'a/0123456789abcdef', lastSeq: 0, path, trustOnFirstUse: false }
    expect(checkHead(undefined, found)).toMatchObject({ error: { kind: 'stream_empty' } })
    expect(checkHead(head(1), found)).toMatchObject({ error: { kind: 'shorter_than_anchor' } })
  })
})

describe('a follower', () => {
  const watch = async (
    answers: WriterAnswer[],
    more: { readonly epochs?: number[]; readonly jitterMs?: number; readonly startsNow?: boolean } = {},
  ) => {
    const time = createFakeTime()
    let asked = 0
    const stop = new AbortController()
    const vacant = untilVacant(
      {
        async ask() {
          asked += 1
          return answers.shift() ?? 'alive'
        },
        seenEpoch: () => more.epochs?.shift() ?? 1,
        scheduler: time,
        askIntervalMs: 1_000,
        jitterMs: more.jitterMs ?? 0,
        startsNow: more.startsNow ?? false,
      },
      stop.signal,
    )
    let settled: boolean | undefined
    void vacant.then((value) => {
      settled = value
    })
    await time.advance(0)
    return { time, stop, asked: () => asked, settled: () => settled }
  }

  it('takes the reign at no responders', async () => {
    const { time, settled } = await watch(['alive', 'no_responders'])
    await time.advance(500)
    expect(settled()).toBeUndefined()
    await time.advance(600)
    for (let turn = 0; turn < 5; turn += 1) await time.advance(1)
    expect(settled()).toBe(true)
  })

  it('takes it after three questions in a row without an answer, not after two', async () => {
    const { time, settled, asked } = await watch(['silent', 'silent', 'alive', 'silent', 'silent', 'silent'])
    await time.advance(500)
    expect([settled(), asked()]).toEqual([undefined, 3])
    await time.advance(600)
    for (let turn = 0; turn < 5; turn += 1) await time.advance(1)
    expect([settled(), asked()]).toEqual([true, 6])
  })

  it('waits for nothing where its first question at a start finds nobody, and does where a later one does', async () => {
    const crowd = { jitterMs: 1e12, startsNow: true }
    const { settled } = await watch(['no_responders'], crowd)
    expect(settled()).toBe(true)
    for (const first of ['alive', 'silent'] as const) {
      const { time, settled: settledLater } = await watch([first, 'no_responders'], crowd)
      await time.advance(1_100)
      expect(settledLater()).toBeUndefined()
    }
  })

  it('begins anew when another epoch was opened during its wait', async () => {
    const { time, settled } = await watch(['no_responders', 'alive'], { epochs: [1, 2, 2, 2] })
    await time.advance(500)
    expect(settled()).toBeUndefined()
  })

  it('gives up when it is stopped', async () => {
    const { time, stop, settled } = await watch(['alive'])
    await time.advance(100)
    stop.abort()
    await time.advance(0)
    expect(settled()).toBe(false)
  })
})

it('names the user whose password file cannot be read, and where nobody listens', async () => {
  const options = { servers: ['nats://127.0.0.1:1'], user: 'kms-ledger', telemetry: createTelemetryLog() }
  const unreadable = await connectNats({ ...options, passwordFile: '/nonexistent/password' })
  expect(unreadable).toMatchObject({ error: { kind: 'file' } })
  const unreachable = await connectNats(options)
  expect(unreachable).toMatchObject({ error: { kind: 'unreachable' } })
  expect(unreachable.ok ? '' : unreachable.error.message).toContain('127.0.0.1:1')
})
