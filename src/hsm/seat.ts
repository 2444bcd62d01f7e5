import type { HsmWorker } from './worker.ts'

/** A worker of a backend, and what is known of it. */
export interface Seat {
  readonly worker: HsmWorker
  isUp: boolean
  /** Whether its token has the handle key of this ledger. */
  handleKey: boolean
  readonly inFlight: Set<{ readonly dueAt: number }>
}

/** The seat that is up and has the least to do; none while the breaker is open. */
export const pickSeat = (seats: readonly Seat[]): Seat | undefined => {
  let best: Seat | undefined
  for (const seat of seats)
    if (seat.isUp && (best === undefined || seat.inFlight.size < best.inFlight.size)) best = seat
  return best
}
