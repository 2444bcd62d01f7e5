import type { KeySpecName } from '../../schemas/keys.ts'
import type { BackendStatus, Telemetry, WrappingSupport } from '../core/ports.ts'
import type { Greeting, HostReply, HostRequest } from './hostRequest.ts'
import { createProber } from './prober.ts'
import { pickSeat, type Seat } from './seat.ts'
import type { Shared } from './tokenClaims.ts'
import { type HsmWorker, LOST } from './worker.ts'

export interface Deadlines {
  readonly callMs: number
  readonly slowCallMs: number
}

/** The workers of one backend, the watch over their calls and the prober that brings them back. */
export interface Fleet {
  start(): Promise<void>
  isOpen(): boolean
  /** Runs on the least busy worker; LOST at once if none is up. */
  run(request: HostRequest, isWanted: () => boolean): Promise<HostReply>
  /** Asks every worker that is up, and waits for all; one that fails has lost what it was asked to drop. */
  broadcast(request: HostRequest): Promise<void>
  status(): Omit<BackendStatus, 'backend' | 'queued'>
  specs(): readonly KeySpecName[] | undefined
  wrapping(): WrappingSupport | undefined
  stop(): Promise<void>
}

const SLOW: ReadonlySet<HostRequest['kind']> = new Set([
  'generateKey',
  'generateWrappingKey',
  'importKey',
  'inventory',
  'findIds',
  'destroyObjects',
  'createGenesis',
  'createHandleKey',
  'listRoots',
  'createNextRoot',
  'destroyRoot',
])
/** Requests that only succeed where the handle key is. */
const SHOWS_HANDLE_KEY: ReadonlySet<HostRequest['kind']> = new Set([
  'encrypt',
  'decrypt',
  'generateKey',
  'generateDataKeyPair',
  'sign',
  'generateMac',
  'verifyMac',
  'createHandleKey',
  'createGenesis',
])
const watchIntervalMsMin = 10

/** Requests that may take seconds on a healthy token: few at a time, with a deadline of their own. */
export const isSlow = (request: HostRequest): boolean =>
  SLOW.has(request.kind) || (request.kind === 'generateDataKeyPair' && request.pairSpec.startsWith('RSA_'))

export const createFleet = (
  options: {
    readonly id: string
    readonly pinFile: string
    readonly workers: readonly HsmWorker[]
    readonly deadlines: Deadlines
    readonly telemetry: Pick<Telemetry, 'log'>
  } & Shared,
): Fleet => {
  const { id, deadlines, telemetry } = options
  const seats = options.workers.map((worker): Seat => ({ worker, isUp: false, handleKey: false, inFlight: new Set() }))
  let specs: readonly KeySpecName[] | undefined
  let wrapping: WrappingSupport | undefined

  const open = (seat: Seat, greeting: Greeting): void => {
    seat.isUp = true
    seat.handleKey = greeting.handleKey
    specs = greeting.specs
    wrapping = greeting.wrapping
    if (greeting.handleKey) return
    // It looked before another worker's key was made: nobody would ask it again while that one takes the calls.
    if (seats.some((one) => one.isUp && one.handleKey)) void refresh(seat, { kind: 'forget' }).catch(() => undefined)
    else telemetry.log('warn', 'HSM backend has no handle key of this ledger', { backend: id })
  }
  const { pinFile, pins, claim } = options
  const prober = createProber({ id, pinFile, pins, claim, seats, open, telemetry })
  const fell = (seat: Seat): void => {
    if (!seat.isUp) return
    seat.isUp = false
    seat.worker.kill()
    telemetry.log('error', 'HSM worker lost', { backend: id, workers_up: seats.filter((one) => one.isUp).length })
    prober.wake()
  }
  for (const seat of seats) seat.worker.onEnd(() => fell(seat))
  const stopWatch = watchCalls(seats, deadlines, fell)

  const runOn = async (seat: Seat, request: HostRequest, isWanted: () => boolean): Promise<HostReply> => {
    const call = { dueAt: performance.now() + (isSlow(request) ? deadlines.slowCallMs : deadlines.callMs) }
    seat.inFlight.add(call)
    try {
      const reply = await seat.worker.run(request, isWanted)
      if (!reply.ok && reply.device && isWanted()) fell(seat)
      if (reply.ok && SHOWS_HANDLE_KEY.has(request.kind)) seat.handleKey = true
      return reply
    } finally {
      seat.inFlight.delete(call)
    }
  }
  const refresh = async (seat: Seat, request: HostRequest): Promise<void> => {
    const reply = await runOn(seat, request, () => true)
    if (reply.ok && typeof reply.value === 'object' && reply.value !== null && 'handleKey' in reply.value)
      seat.handleKey = reply.value.handleKey === true
  }

  return {
    start: () => prober.firstRound(),
    isOpen: () => seats.some((seat) => seat.isUp),
    async run(request, isWanted) {
      const seat = pickSeat(seats)
      return seat === undefined ? LOST : runOn(seat, request, isWanted)
    },
    async broadcast(request) {
      await Promise.all(seats.filter((seat) => seat.isUp).map((seat) => refresh(seat, request)))
    },
    status() {
      const up = seats.filter((seat) => seat.isUp)
      const usable = up.filter((seat) => seat.handleKey).length
      const state = usable === 0 ? 'DOWN' : usable < seats.length ? 'DEGRADED' : 'HEALTHY'
      return { state, breaker: up.length === 0 ? 'open' : 'closed' }
    },
    specs: () => specs,
    wrapping: () => wrapping,
    async stop() {
      stopWatch()
      for (const seat of seats) seat.isUp = false
      await prober.stop()
      await Promise.all(seats.map((seat) => seat.worker.stop()))
    },
  }
}

/** One watch for all calls: a timer for each would cost as much as a call does. */
const watchCalls = (seats: readonly Seat[], deadlines: Deadlines, late: (seat: Seat) => void): (() => void) => {
  const isLate = (seat: Seat, now: number): boolean => {
    for (const call of seat.inFlight) if (call.dueAt < now) return true
    return false
  }
  const look = (): void => {
    const now = performance.now()
    for (const seat of seats) if (isLate(seat, now)) late(seat)
  }
  const timer = setInterval(look, Math.max(watchIntervalMsMin, Math.min(deadlines.callMs, deadlines.slowCallMs) / 8))
  timer.unref()
  return () => clearInterval(timer)
}
