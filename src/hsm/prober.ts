import { LIMITS } from '../../schemas/limits.ts'
import type { Telemetry } from '../core/ports.ts'
import type { Greeting, HostReply } from './hostRequest.ts'
import { readPinMark } from './pin.ts'
import type { Seat } from './seat.ts'
import type { Shared } from './tokenClaims.ts'

/** The one task of a backend that brings workers back; everybody else only sees whether they are up. */
export interface Prober {
  /** Tries every worker once, then goes on by itself for those that did not open. */
  firstRound(): Promise<void>
  wake(): void
  stop(): Promise<void>
}

export const createProber = (
  options: {
    readonly id: string
    readonly pinFile: string
    readonly seats: readonly Seat[]
    open(seat: Seat, greeting: Greeting): void
    readonly telemetry: Pick<Telemetry, 'log'>
  } & Shared,
): Prober => {
  const { id, seats, pins, telemetry } = options
  let isStopped = false
  let loop: Promise<void> | undefined
  let endPause: (() => void) | undefined
  let lastOpenedAt = Number.NEGATIVE_INFINITY
  let lastMessage = ''

  const startOwn = async ({ worker }: Seat): Promise<HostReply<Greeting>> => {
    const reply = await worker.start()
    if (!reply.ok || options.claim(reply.value.token)) return reply
    worker.kill()
    return { ok: false, code: 'HSM_UNAVAILABLE', message: 'the token is that of another backend', device: true }
  }
  const tryOpen = async (seat: Seat): Promise<void> => {
    // A token counts wrong PINs and locks: the same one is not tried twice, a rewritten source is.
    const mark = readPinMark(options.pinFile)
    if (pins.isRefused(mark)) return
    const reply = await startOwn(seat)
    if (isStopped) return
    if (!reply.ok && reply.pinRefused === true) pins.noteRefused(mark)
    if (reply.ok) {
      lastOpenedAt = performance.now()
      lastMessage = ''
      options.open(seat, reply.value)
      telemetry.log('info', 'HSM worker up', { backend: id })
    } else if (reply.message !== lastMessage) {
      lastMessage = reply.message
      telemetry.log('error', 'HSM backend away', { backend: id, reason: reply.message })
    }
  }
  const tryAll = async (): Promise<void> => {
    for (const seat of seats) if (!seat.isUp && !isStopped) await tryOpen(seat)
  }
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      timer.unref()
      endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  const run = async (): Promise<void> => {
    // At once after a long good time; a worker that falls again right after it was opened waits.
    let waitMs = performance.now() - lastOpenedAt > LIMITS.hsmProbeIntervalMaxMs ? 0 : LIMITS.hsmProbeIntervalMs
    while (!isStopped && seats.some((seat) => !seat.isUp)) {
      if (waitMs > 0) await pause(waitMs)
      if (!isStopped) await tryAll()
      waitMs = Math.min(Math.max(waitMs * 2, LIMITS.hsmProbeIntervalMs), LIMITS.hsmProbeIntervalMaxMs)
    }
  }
  const wake = (): void => {
    if (isStopped || loop !== undefined) return
    loop = run().finally(() => {
      loop = undefined
      if (seats.some((seat) => !seat.isUp)) wake()
    })
  }

  return {
    async firstRound() {
      await Promise.all(seats.map((seat) => tryOpen(seat)))
      if (seats.some((seat) => !seat.isUp)) wake()
    },
    wake,
    async stop() {
      isStopped = true
      endPause?.()
      await loop
    },
  }
}
