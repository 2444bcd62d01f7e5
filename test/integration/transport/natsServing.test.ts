import { connect } from '@nats-io/transport-node'
import { describe, expect, test } from 'vitest'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { createAdmission } from '../../../src/transport/admission.ts'
import { createNatsTransport, type NatsTransport } from '../../../src/transport/nats.ts'
import { decodeReply, provideNatsTransport, REPLY_WAIT_MS, utf8 } from '../../fixtures/natsTransport.ts'
import { createScriptedDispatch, LID } from '../../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const { start, serving, ask, readService, server, front, app } = provideNatsTransport()

describe('the bound', () => {
  test('beyond it requests get OVERLOADED, and those within it are answered', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const { transport } = await start(async () => {
      await held
      return undefined
    }, 2)
    const pending = Array.from({ length: 5 }, () => ask('kms.v1.get-ledger-head', new Uint8Array(0)))
    const first = await Promise.race(pending)
    expect(first.headers?.get('Nats-Service-Error')).toBe('OVERLOADED')
    expect(first.json()).toMatchObject({ error: { retryable: true } })
    release()
    const codes = (await Promise.all(pending)).map((reply) => reply.headers?.get('Nats-Service-Error') || 'OK')
    expect(codes.sort()).toEqual(['OK', 'OK', 'OVERLOADED', 'OVERLOADED', 'OVERLOADED'])
    await transport.drain()
  })
})

describe('roles', () => {
  const isAnswered = () =>
    app()
      .request('kms.v1.get-ledger-head', new Uint8Array(0), { timeout: REPLY_WAIT_MS })
      .then(
        () => true,
        () => false,
      )

  test('after leave nothing is taken and the service is still discoverable; join takes requests again', async () => {
    const { transport } = await start()
    expect(await isAnswered()).toBe(true)
    await transport.leave()
    await front().flush()
    expect(transport.isServing()).toBe(false)
    expect(await isAnswered()).toBe(false)
    expect(await readService('INFO')).toMatchObject({ name: 'kms', endpoints: [] })
    await transport.join()
    await front().flush()
    expect(await isAnswered()).toBe(true)
    await transport.drain()
    expect(await isAnswered()).toBe(false)
  })

  test('changes asked for in a hurry end in the last one', async () => {
    const { transport } = await start()
    await Promise.all([transport.leave(), transport.join(), transport.leave(), transport.join()])
    await front().flush()
    expect(await isAnswered()).toBe(true)
    await transport.drain()
  })

  test('drain answers what is in flight', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let arrived = () => {}
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const { transport } = await start(async () => {
      arrived()
      await held
      return undefined
    })
    const reply = ask('kms.v1.get-ledger-head', new Uint8Array(0))
    await arrival
    const drained = transport.drain()
    release()
    expect(await drained).toBe(true)
    expect((await reply).json()).toHaveProperty('receipt')
  })
})

test('what $SRV shows has the operations and counts, and nothing of keys, callers or contents', () =>
  serving(async () => {
    const marker = 'MARKER'
    await ask('kms.v1.describe-key', utf8(`{"key_id":"${marker}"}`), { Authorization: `Bearer ${marker}` })
    await ask('kms.v1.describe-key', utf8(`{"${marker}`), { Authorization: `Bearer ${marker}` })
    const shown = JSON.stringify([await readService('INFO'), await readService('STATS'), await readService('PING')])
    expect(shown).toContain('kms.v1.describe-key')
    expect(shown).not.toContain(marker)
    expect(shown).not.toContain('lid_')
  }))

test('a reply published while the connection is down is sent whole after it is back', async () => {
  let arrived = () => {}
  const arrival = new Promise<void>((resolve) => {
    arrived = resolve
  })
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const connection = await connect({ ...server().login('kms-front'), noAsyncTraces: true, reconnectTimeWait: 50 })
  const scripted = createScriptedDispatch(async () => {
    arrived()
    await held
    return undefined
  })
  const transport: NatsTransport = createNatsTransport({
    connection,
    dispatch: scripted.dispatch,
    telemetry: createTelemetryLog(),
    admission: createAdmission(),
    version: '0.1.0',
  })
  await transport.join()
  await connection.flush()
  const reply = ask('kms.v1.encrypt', encodeMsgpack({ key_id: LID, plaintext: Buffer.alloc(64, 7) }), {
    'Content-Type': 'application/msgpack',
  })
  await arrival
  await connection.reconnect()
  const statuses = connection.status()
  for await (const { type } of statuses) {
    if (type === 'reconnecting') release()
    if (type === 'reconnect') break
  }
  // Either it goes out whole, or nats.js dropped it with the old connection: never zeros.
  const outcome = await reply.then(
    ({ data }) => decodeReply(data),
    () => 'dropped',
  )
  if (outcome !== 'dropped') expect(outcome).toMatchObject({ value: { ciphertext_blob: Buffer.alloc(64, 7) } })
  await transport.drain()
  await connection.close()
})
