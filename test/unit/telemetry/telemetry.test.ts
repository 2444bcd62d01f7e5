import { describe, expect, test } from 'vitest'
import type { CheckpointStatus, LedgerStatus } from '../../../src/core/ports.ts'
import { createTelemetry } from '../../../src/telemetry/telemetry.ts'

const capture = () => {
  let text = ''
  const keep = (line: string) => {
    text += line
  }
  const telemetry = createTelemetry({ level: 'info', destination: { write: keep } })
  return { telemetry, text: () => text }
}

describe('logs', () => {
  test('a line is JSON with level, time, message and the allowed fields', () => {
    const { telemetry, text } = capture()
    telemetry.log('warn', 'a commit is in doubt', { seq: 7 })
    expect(JSON.parse(text())).toMatchObject({ level: 'warn', msg: 'a commit is in doubt', seq: 7 })
  })

  test('a field that is not on the list is named but its value does not appear', () => {
    const { telemetry, text } = capture()
    telemetry.log('info', 'x', { plaintext: 'MARKER', token: 'MARKER', seq: 1 })
    expect(text()).not.toContain('MARKER')
    expect(JSON.parse(text())).toMatchObject({ seq: 1, fields_left_out: 'plaintext token' })
  })

  test('an object under an allowed name has no way in', () => {
    const { telemetry, text } = capture()
    const fields: Record<string, never> = JSON.parse('{"error":{"message":"MARKER"},"reason":["MARKER"]}')
    telemetry.log('error', 'x', fields)
    expect(text()).not.toContain('MARKER')
  })

  test('long text is cut', () => {
    const { telemetry, text } = capture()
    telemetry.log('error', 'x', { error: 'e'.repeat(100_000) })
    expect(text().length).toBeLessThan(1_000)
  })

  test('a line below the level is not written', () => {
    const { telemetry, text } = capture()
    telemetry.log('debug', 'x')
    expect(text()).toBe('')
  })
})

describe('metrics', () => {
  test('operations are counted by code and transport, with their latency', async () => {
    const { telemetry } = capture()
    telemetry.operationDone('Encrypt', 'nats', 'OK', 3)
    telemetry.operationDone('Encrypt', 'nats', 'ACCESS_DENIED', 1)
    const { body } = await telemetry.metrics.render()
    expect(body).toContain('kms_operations_total{operation="Encrypt",transport="nats",code="OK"} 1')
    expect(body).toContain('kms_operations_total{operation="Encrypt",transport="nats",code="ACCESS_DENIED"} 1')
    expect(body).toContain('kms_operation_duration_seconds_count{operation="Encrypt",transport="nats"} 2')
  })

  test('gauges are read at scrape time', async () => {
    const { telemetry } = capture()
    let seq = 1
    telemetry.metrics.registerGauges({
      ledgerStatus: () => ({ role: 'writer', epoch: 2, seq, hash: '', queued: 3, inDoubt: true }),
      hsmStatus: () => [{ backend: 'main', state: 'DOWN', breaker: 'open', queued: 4 }],
      inFlight: () => 5,
    })
    telemetry.metrics.observeCommit(17)
    telemetry.metrics.countRefusedReplySubject()
    telemetry.metrics.countFeedMessages('dropped', 3)
    seq = 9
    const { body } = await telemetry.metrics.render()
    for (const line of [
      'kms_ledger_head_seq 9',
      'kms_ledger_epoch 2',
      'kms_ledger_queue 3',
      'kms_ledger_in_doubt 1',
      'kms_ledger_alarm 0',
      'kms_ledger_role{role="writer"} 1',
      'kms_ledger_role{role="follower"} 0',
      'kms_hsm_breaker_open{backend="main"} 1',
      'kms_hsm_queue{backend="main"} 4',
      'kms_requests_in_flight 5',
      'kms_ledger_events_per_commit_sum 17',
      'kms_refused_reply_subjects_total 1',
      'kms_feed_messages_total{outcome="dropped"} 3',
    ]) {
      expect(body).toContain(line)
    }
  })

  test('the place and age of the newest snapshot are gauges, and have no value before there is one', async () => {
    const { telemetry } = capture()
    let status: LedgerStatus = { role: 'writer', epoch: 2, seq: 9, hash: '', queued: 0, inDoubt: false }
    telemetry.metrics.registerGauges({ ledgerStatus: () => status })
    expect((await telemetry.metrics.render()).body).not.toMatch(/^kms_ledger_snapshot_/m)
    status = { ...status, snapshot: { seq: 8, ageMs: 1500 } }
    const { body } = await telemetry.metrics.render()
    expect(body).toContain('kms_ledger_snapshot_seq 8')
    expect(body).toContain('kms_ledger_snapshot_age_seconds 1.5')
  })

  test('the use of the storage and its limit are gauges, and have no value while nobody tells', async () => {
    const { telemetry } = capture()
    let status: LedgerStatus = { role: 'writer', epoch: 2, seq: 9, hash: '', queued: 0, inDoubt: false }
    telemetry.metrics.registerGauges({ ledgerStatus: () => status })
    expect((await telemetry.metrics.render()).body).not.toMatch(/^kms_ledger_storage_/m)
    status = { ...status, storage: { usedBytes: 700, limitBytes: 1000, isWarning: true } }
    const { body } = await telemetry.metrics.render()
    expect(body).toContain('kms_ledger_storage_used_bytes 700')
    expect(body).toContain('kms_ledger_storage_limit_bytes 1000')
  })

  test('the age of the last anchored checkpoint is a gauge, and has no value before there is one', async () => {
    const { telemetry } = capture()
    const status = { role: 'writer', epoch: 2, seq: 9, hash: '', queued: 0, inDoubt: false } as const
    let checkpoints: CheckpointStatus = { anchors: [{ name: 'a' }] }
    telemetry.metrics.registerGauges({ ledgerStatus: () => ({ ...status, checkpoints }) })
    expect((await telemetry.metrics.render()).body).not.toMatch(/^kms_ledger_anchored_(age_seconds|seq) /m)
    checkpoints = {
      signed: { size: 9, ageMs: 500 },
      anchored: { size: 7, ageMs: 2500 },
      anchors: [{ name: 'a' }, { name: 'b', failing: 'unanswered' }],
    }
    const { body } = await telemetry.metrics.render()
    for (const line of [
      'kms_ledger_checkpoint_age_seconds 0.5',
      'kms_ledger_anchored_age_seconds 2.5',
      'kms_ledger_anchored_seq 7',
      'kms_ledger_anchors_failing 1',
    ])
      expect(body).toContain(line)
  })
})
