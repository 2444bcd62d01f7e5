import type { NatsConnection } from '@nats-io/transport-node'
import type { Event } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import type { Pin } from '../core/chainState.ts'
import { encodeEvent, sealCommit, toHead, toSignedBytes, toSubject } from '../core/commit.ts'
import { toKid } from '../core/ed25519.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import type { Scheduler, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import type { Publication } from './commitStream.ts'
import type { LedgerResult } from './fault.ts'
import { createNatsStream } from './natsStream.ts'
import { settleCommit } from './settle.ts'
import { createVerifier, type Tip, toNextStream } from './tip.ts'
import { wait } from './wait.ts'

/** Where a commit that `ledger-root` signs stands: the head's members that do not follow from its event. */
export interface RootPlace {
  readonly origin: string
  readonly epoch: number
  readonly seq: number
  readonly first: number
  readonly timeMs: number
  readonly prev: Uint8Array
}

/** A commit of one event, signed by this root, ready to publish. Fails as `sign` does. */
export const buildRootCommit = async (
  place: RootPlace,
  event: Event,
  root: Uint8Array,
  sign: (message: Uint8Array) => Promise<Result<Uint8Array>>,
): Promise<Result<Publication>> => {
  const subject = toSubject([event.type])
  const input = { ...place, subject, events: [encodeEvent(event)] }
  const head = toHead(input)
  const signature = await sign(toSignedBytes(head))
  if (!signature.ok) return signature
  const commit = sealCommit(input, { head, kid: toKid(root), signature: signature.value })
  return ok({ seq: place.seq, subject, payload: commit.message, messageId: Buffer.from(commit.hash).toString('hex') })
}

interface AppendOptions {
  /** The `kms-ledger` user. */
  readonly connection: NatsConnection
  readonly pin: Pin
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

/**
 * Appends a commit while no service runs: what no verifier would accept after `tip` is not published. Gives the tip after it, and
 * how the append ended if it was not `settled`; tried until `appendDeadlineMs`. `what` names it in the log.
 */
export const appendOffline = async (
  { connection, pin, scheduler, telemetry }: AppendOptions,
  { tip, publication, what }: { readonly tip?: Tip; readonly publication: Publication; readonly what: string },
  signal: AbortSignal,
): Promise<LedgerResult<{ readonly tip: Tip; readonly unsettled?: string }>> => {
  const verifier = createVerifier(pin, createEventCheck())
  const before = tip ?? verifier.start
  const placed = { ...publication, ...toNextStream(before) }
  const next = verifier.advance(before, placed)
  if (!next.ok) return next
  const stop = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.appendDeadlineMs)])
  const { kind } = await settleCommit(
    createNatsStream(connection, () => placed.stream ?? STREAM_LEDGER),
    placed,
    {
      stop,
      pause: () => wait(scheduler, LIMITS.republishPauseMs, stop),
      isOverdue: () => false,
      onDoubt: (why) => telemetry.log('warn', `${what} is in doubt`, { why }),
    },
  )
  return ok({ tip: next.value, ...(kind === 'settled' ? {} : { unsettled: kind }) })
}
