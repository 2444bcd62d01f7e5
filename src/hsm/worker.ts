import type { Greeting, HostReply, HostRequest } from './hostRequest.ts'
import type { HostFailure } from './pkcs11Failure.ts'

/** One host somewhere: in this process or in a child of it. */
export interface HsmWorker {
  /** Opens the token, afresh if it was open before. Never throws; a failure is HSM_UNAVAILABLE. */
  start(): Promise<HostReply<Greeting>>
  /** `isWanted` is asked just before the request is sent or run; an unwanted one is dropped with its secrets unread. */
  run(request: HostRequest, isWanted: () => boolean): Promise<HostReply>
  /** Sets who is told when it ends, by whatever cause; one that dies idle would otherwise cost the next caller its call. */
  onEnd(listener: () => void): void
  /** Ends it at once: every pending reply is {@link LOST}, now. It can be started again. */
  kill(): void
  /** Lets it finish and close the token; ends it by force after a deadline. */
  stop(): Promise<void>
}

/** What pending callers of a worker that ended get. */
export const LOST: HostFailure = {
  ok: false,
  code: 'HSM_UNAVAILABLE',
  message: 'the HSM backend of this key does not answer',
  device: true,
}
