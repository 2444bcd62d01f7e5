import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { Sensitive } from '../../../src/core/sensitive.ts'
import { type Backend, createBackend } from '../../../src/hsm/backend.ts'
import type { HostReply, HostRequest } from '../../../src/hsm/hostRequest.ts'
import { createPinMemory } from '../../../src/hsm/pinMemory.ts'
import { type HsmWorker, LOST } from '../../../src/hsm/worker.ts'
import { BACKEND, calm, eventually, randomLid } from '../../fixtures/hsmRequests.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

interface Scripted extends HsmWorker {
  readonly requests: HostRequest[]
  /** Answers the oldest request that waits. */
  answer(reply: HostReply): void
  starts: number
  canStart: boolean
  /** What it finds when it starts. */
  hasHandleKey: boolean
  /** What its start waits for once it has looked. */
  untilOpen: Promise<void>
}

/** A worker whose replies the test gives. */
const createScripted = (): Scripted => {
  const pending: ((reply: HostReply) => void)[] = []
  const worker: Scripted = {
    requests: [],
    starts: 0,
    canStart: true,
    hasHandleKey: true,
    untilOpen: Promise.resolve(),
    answer: (reply) => pending.shift()?.(reply),
    start: async () => {
      worker.starts += 1
      if (!worker.canStart) return LOST
      const handleKey = worker.hasHandleKey
      await worker.untilOpen
      return {
        ok: true,
        value: { specs: ['AES_256'], handleKey, token: 'one', wrapping: { algorithms: [], specs: [] } },
      }
    },
    run: (request) => {
      worker.requests.push(request)
      return new Promise((resolve) => pending.push(resolve))
    },
    onEnd: () => undefined,
    kill: () => {
      for (const resolve of pending.splice(0)) resolve(LOST)
    },
    stop: async () => undefined,
  }
  return worker
}

const open: Backend[] = []
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.stop()
})

const startBackend = async (workers: readonly Scripted[], callMs = 60_000): Promise<Backend> => {
  const deadlines = { callMs, slowCallMs: 60_000 }
  const backend = createBackend({
    id: BACKEND,
    pinFile: '/nowhere',
    workers,
    deadlines,
    telemetry: createTelemetryLog(),
    pins: createPinMemory(),
    claim: () => true,
  })
  open.push(backend)
  await backend.start()
  return backend
}

const random: HostRequest = { kind: 'random', backend: BACKEND, bytes: 1 }
const generate = (): HostRequest & { readonly kind: 'generateKey' } => ({
  kind: 'generateKey',
  backend: BACKEND,
  epoch: 1,
  lid: randomLid(),
  version: 1,
  spec: 'AES_256',
  exportable: false,
})

describe('an HSM backend', () => {
  it('gives each call to the least busy worker', async () => {
    const workers = [createScripted(), createScripted()]
    const backend = await startBackend(workers)
    for (let i = 0; i < 10; i += 1) void backend.run(random, calm)
    expect(workers.map((worker) => worker.requests.length)).toEqual([5, 5])
  })

  it('opens its breaker on a device failure, says so at once, and closes it when a worker is back', async () => {
    const worker = createScripted()
    const backend = await startBackend([worker])
    const first = backend.run(random, calm)
    const second = backend.run(random, calm)
    worker.canStart = false
    worker.answer(LOST)
    expect(await first).toEqual(LOST)
    expect(await second).toEqual(LOST)
    expect(await backend.run(random, calm)).toEqual(LOST)
    expect(worker.requests).toHaveLength(2)
    expect(backend.status()).toEqual({ backend: BACKEND, state: 'DOWN', breaker: 'open', queued: 0 })
    worker.canStart = true
    await eventually(() => backend.status().state === 'HEALTHY')
  })

  it("keeps its breaker closed for a failure that is the request's own", async () => {
    const worker = createScripted()
    const backend = await startBackend([worker])
    const done = backend.run(random, calm)
    worker.answer({ ok: false, code: 'KEY_NOT_USABLE', message: 'm', device: false })
    expect(await done).toMatchObject({ code: 'KEY_NOT_USABLE' })
    expect(backend.status()).toMatchObject({ breaker: 'closed', state: 'HEALTHY' })
  })

  it('asks a worker again that looked for the handle key before another one had made it', async () => {
    const [first, second] = [createScripted(), createScripted()]
    first.hasHandleKey = false
    second.canStart = false
    const backend = await startBackend([first, second])
    expect(backend.status().state).toBe('DOWN')
    let open = (): void => undefined
    second.untilOpen = new Promise((resolve) => {
      open = resolve
    })
    second.hasHandleKey = false
    second.canStart = true
    const before = second.starts
    await eventually(() => second.starts > before)
    const made = backend.run({ kind: 'createHandleKey' }, calm)
    first.answer({ ok: true, value: 'made' })
    expect(await made).toMatchObject({ ok: true })
    expect(backend.status().state).toBe('DEGRADED')
    open()
    await eventually(() => second.requests.length === 1)
    expect(second.requests).toEqual([{ kind: 'forget' }])
    second.answer({ ok: true, value: { handleKey: true } })
    await eventually(() => backend.status().state === 'HEALTHY')
  })

  it('is DEGRADED while one of two workers is away, and the other goes on', async () => {
    const workers = [createScripted(), createScripted()]
    const [first, second] = workers
    if (first === undefined || second === undefined) throw new Error('two workers')
    const backend = await startBackend(workers)
    first.canStart = false
    const lost = backend.run(random, calm)
    first.answer(LOST)
    await lost
    expect(backend.status()).toMatchObject({ state: 'DEGRADED', breaker: 'closed' })
    const done = backend.run(random, calm)
    second.answer({ ok: true, value: 'answered' })
    expect(await done).toEqual({ ok: true, value: 'answered' })
  })

  it('has one prober however many calls fail', async () => {
    const worker = createScripted()
    const backend = await startBackend([worker])
    worker.canStart = false
    const calls = Array.from({ length: 100 }, () => backend.run(random, calm))
    worker.answer(LOST)
    await Promise.all(calls)
    await new Promise((resolve) => setTimeout(resolve, 2 * LIMITS.hsmProbeIntervalMs))
    expect(worker.starts).toBeLessThanOrEqual(4)
  })

  it('kills a worker that keeps a call past its deadline', async () => {
    const worker = createScripted()
    const backend = await startBackend([worker], 80)
    const kill = vi.spyOn(worker, 'kill')
    expect(await backend.run(random, calm)).toEqual(LOST)
    expect(kill).toHaveBeenCalled()
  })

  it('lets only a few slow calls into a worker at once, and goes on with quick ones', async () => {
    const worker = createScripted()
    const backend = await startBackend([worker])
    for (let i = 0; i < 10; i += 1) void backend.run(generate(), calm)
    void backend.run(random, calm)
    await new Promise((resolve) => setImmediate(resolve))
    const kinds = worker.requests.map((request) => request.kind)
    expect(kinds.filter((kind) => kind === 'generateKey')).toHaveLength(LIMITS.hsmSlowCallsMax)
    expect(kinds).toContain('random')
  })

  it('destroys a key that came after its caller had gone', async () => {
    const worker = createScripted()
    const backend = await startBackend([worker])
    const controller = new AbortController()
    const request = generate()
    const done = backend.run(request, controller.signal)
    controller.abort()
    expect(await done).toMatchObject({ code: 'CANCELLED' })
    const sealedHandle = randomBytes(44)
    worker.answer({ ok: true, value: { sealedHandle } })
    await vi.waitFor(() => expect(worker.requests).toHaveLength(2))
    const { lid, version, spec } = request
    expect(worker.requests[1]).toEqual({
      kind: 'destroyKey',
      backend: BACKEND,
      key: { lid, version, spec, sealedHandle },
    })
  })

  it('zeroes a plaintext that came after its caller had gone', async () => {
    const worker = createScripted()
    const backend = await startBackend([worker])
    const controller = new AbortController()
    const done = backend.run(random, controller.signal)
    controller.abort(new DOMException('late', 'TimeoutError'))
    expect(await done).toMatchObject({ code: 'TIMEOUT' })
    const bytes = Buffer.alloc(32, 7)
    worker.answer({ ok: true, value: { bytes: new Sensitive(bytes) } })
    await vi.waitFor(() => expect(bytes).toEqual(Buffer.alloc(32)))
  })
})
