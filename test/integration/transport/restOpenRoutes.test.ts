import { describe, expect, test } from 'vitest'
import { createAdmission } from '../../../src/transport/admission.ts'
import { createAdminListener, createRestGateway } from '../../../src/transport/rest.ts'
import { OPEN, provideRestGateways } from '../../fixtures/restGateway.ts'
import { createScriptedDispatch } from '../../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const { start, listen } = provideRestGateways()

describe('routes without token', () => {
  test('answer, and dispatch nothing', async () => {
    const { ask, seen } = await start()
    expect(await (await ask('/healthz')).json()).toEqual({ status: 'ok' })
    expect(await (await ask('/metrics')).text()).toBe('kms_up 1\n')
    expect(await (await ask('/openapi.json')).json()).toEqual({ openapi: '3.1.0' })
    const ready = await ask('/readyz')
    expect([ready.status, await ready.json()]).toEqual([
      200,
      { status: 'ready', components: [{ name: 'nats', status: 'ready' }] },
    ])
    expect(seen).toEqual([])
  })

  test.each([
    ['a part that is not ready', async () => [{ name: 'hsm', isReady: false, detail: 'breaker open' }]],
    ['a probe that throws', () => Promise.reject(new Error('MARKER'))],
    ['a probe that hangs', () => new Promise<never>(() => {})],
  ])('%s is 503', async (_title, readiness) => {
    const { ask } = await start(undefined, { ...OPEN, readiness })
    const answer = await ask('/readyz')
    expect(answer.status).toBe(503)
    expect(await answer.text()).not.toContain('MARKER')
  })

  test('a part that warns is named, and is still ready', async () => {
    const readiness = async () => [
      { name: 'nats', isReady: true },
      { name: 'storage', isReady: true, detail: '71 % used', isWarning: true },
    ]
    const answer = await (await start(undefined, { ...OPEN, readiness })).ask('/readyz')
    expect([answer.status, await answer.json()]).toEqual([
      200,
      {
        status: 'ready',
        warnings: ['storage'],
        components: [
          { name: 'nats', status: 'ready' },
          { name: 'storage', status: 'ready', detail: '71 % used', warning: true },
        ],
      },
    ])
  })

  test('are absent from the main listener when they have one of their own', async () => {
    const { ask } = await start(undefined, undefined)
    const server = createRestGateway({
      dispatch: createScriptedDispatch().dispatch,
      telemetry: createTelemetryLog(),
      admission: createAdmission(),
    })
    const port = await listen(server)
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(404)
    const admin = createAdminListener({ telemetry: createTelemetryLog(), open: OPEN })
    const adminPort = await listen(admin)
    expect((await fetch(`http://127.0.0.1:${adminPort}/metrics`)).status).toBe(200)
    expect((await fetch(`http://127.0.0.1:${adminPort}/v1/keys`)).status).toBe(404)
    expect((await ask('/v1/keys')).status).toBe(200)
  })
})
