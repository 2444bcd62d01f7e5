import { setMaxListeners } from 'node:events'
import type { KeySpecName } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { makesObject } from '../core/instruction.ts'
import type { BackendStatus, Telemetry, WrappingSupport } from '../core/ports.ts'
import { createFleet, type Deadlines, isSlow } from './fleet.ts'
import { createGate } from './gate.ts'
import { discardSecrets, type HostReply, type HostRequest, isOutputOf } from './hostRequest.ts'
import { refuse } from './pkcs11Failure.ts'
import type { Shared } from './tokenClaims.ts'
import { type HsmWorker, LOST } from './worker.ts'

/** One token behind a breaker and a bounded queue. */
export interface Backend {
  /** Opens the workers; answers after the first try, whether it worked or not. */
  start(): Promise<void>
  run(request: HostRequest, signal: AbortSignal): Promise<HostReply>
  /** Has every worker drop copies, of a version or of everything, and look the handle key up again. */
  broadcast(request: HostRequest): Promise<void>
  status(): BackendStatus
  /** Whether the token offers the spec's mechanisms; true while no worker has ever been up to say. */
  supports(spec: KeySpecName): boolean
  /** None while no worker has ever been up to say. */
  wrapping(): WrappingSupport | undefined
  stop(): Promise<void>
}

export const createBackend = (
  options: {
    readonly id: string
    readonly pinFile: string
    readonly workers: readonly HsmWorker[]
    readonly deadlines: Deadlines
    readonly telemetry: Pick<Telemetry, 'log'>
  } & Shared,
): Backend => {
  const fleet = createFleet(options)
  const slowGate = createGate(LIMITS.hsmSlowCallsMax * options.workers.length)
  let queued = 0
  const release = (): void => {
    queued -= 1
  }

  const begin = (request: HostRequest, isWanted: () => boolean): Promise<HostReply> =>
    isSlow(request)
      ? slowGate(() => (isWanted() ? fleet.run(request, isWanted) : Promise.resolve(LOST)))
      : fleet.run(request, isWanted)

  /** Nobody waits for this result: its secrets go, and a key that nobody will record goes too. */
  const undo = (request: HostRequest, reply: HostReply): void => {
    if (!reply.ok) return
    discardSecrets(reply.value)
    if (!makesObject(request) || !isOutputOf(request.kind, reply.value)) return
    const { backend, lid, version } = request
    const spec = request.kind === 'generateWrappingKey' ? 'RSA_3072' : request.spec
    const key = { lid, version, spec, sealedHandle: reply.value.sealedHandle }
    queued += 1
    fleet
      .run({ kind: 'destroyKey', backend, key }, () => true)
      .catch(() => undefined)
      .finally(release)
  }

  return {
    start: fleet.start,
    async run(request, signal) {
      if (signal.aborted) return toAborted(signal)
      if (!fleet.isOpen()) return LOST
      if (queued >= LIMITS.hsmQueueMax) return refuse('OVERLOADED', 'too many calls wait for this HSM backend')
      queued += 1
      return untilAborted(signal, (isWanted) => begin(request, isWanted), {
        late: (reply) => undo(request, reply),
        settled: release,
      })
    },
    broadcast: fleet.broadcast,
    status: () => ({ backend: options.id, ...fleet.status(), queued }),
    wrapping: fleet.wrapping,
    supports: (spec) => fleet.specs()?.includes(spec) ?? true,
    stop: fleet.stop,
  }
}

const toAborted = (signal: AbortSignal): HostReply =>
  signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
    ? refuse('TIMEOUT', 'the deadline passed before the HSM was done')
    : refuse('CANCELLED', 'the caller went away before the HSM was done')

/** The call's reply, or the abort if that comes first; a reply after it goes to `late`. */
const untilAborted = (
  signal: AbortSignal,
  call: (isWanted: () => boolean) => Promise<HostReply>,
  on: { late(reply: HostReply): void; settled(): void },
): Promise<HostReply> =>
  new Promise((resolve, reject) => {
    let isAborted = false
    const onAbort = (): void => {
      isAborted = true
      resolve(toAborted(signal))
    }
    // One signal may stand for a batch of calls; their number is bounded by the queue.
    setMaxListeners(0, signal)
    signal.addEventListener('abort', onAbort, { once: true })
    call(() => !isAborted)
      .then((reply) => (isAborted ? on.late(reply) : resolve(reply)), reject)
      .finally(() => {
        signal.removeEventListener('abort', onAbort)
        on.settled()
      })
  })
