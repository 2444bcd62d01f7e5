import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { EventOf } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { type EncodedCommit, encodeCommit, encodeEvent, toSubject } from '../core/commit.ts'
import { toKid } from '../core/ed25519.ts'
import { toEpochAttestation } from '../core/ledgerEvents.ts'
import { createUuidV7 } from '../core/lid.ts'
import type { Clock, Hsm } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import type { Tip } from './tip.ts'

/** One writer's reign: an Ed25519 key that lives in this process's memory and signs this epoch's commits. */
export interface Epoch {
  readonly number: number
  readonly kid: string
  readonly openedAtMs: number
  /** Sequence of its `EpochOpened`. */
  readonly openedAtSeq: number
  sign(message: Uint8Array): Uint8Array
}

/** An `EpochOpened` ready to publish, and the epoch it opens once it is settled. */
export interface Opening {
  readonly epoch: Epoch
  readonly commit: EncodedCommit
  readonly subject: string
}

export interface EpochOpener {
  /** Makes a key and has the root in force attest it for the place right after `tip`. HSM_UNAVAILABLE and what the HSM says. */
  open(tip: Tip, signal: AbortSignal): Promise<Result<Opening>>
}

export const createEpochOpener = (ports: {
  readonly hsm: Pick<Hsm, 'signAsRoot'>
  readonly backend: string
  /** Who writes, for people: host and process id. */
  readonly writer: string
  readonly clock: Clock
}): EpochOpener => ({
  async open(tip, signal) {
    const { origin } = tip.view.at
    const place = { origin, epoch: tip.view.at.epoch + 1, seq: tip.view.at.seq + 1, prev: tip.chain.hash }
    const { publicKey, privateKey } = createKeyPair()
    const kid = toKid(publicKey)
    const attestation = await ports.hsm.signAsRoot(
      ports.backend,
      { root: tip.chain.root.raw, message: toEpochAttestation({ ...place, kid, publicKey }) },
      signal,
    )
    if (!attestation.ok) return attestation
    const timeMs = ports.clock.now()
    const event: EventOf<'EpochOpened'> = {
      ...toServiceEnvelope(origin, 'EpochOpened', timeMs),
      type: 'EpochOpened',
      data: { writer: ports.writer, kid, public_key: publicKey, attestation: attestation.value },
    }
    const subject = toSubject([event.type])
    const signWith = (message: Uint8Array): Uint8Array => sign(null, message, privateKey)
    const commit = encodeCommit({
      ...place,
      subject,
      first: tip.chain.events,
      timeMs,
      events: [encodeEvent(event)],
      kid,
      sign: signWith,
    })
    return ok({
      commit,
      subject,
      epoch: { number: place.epoch, kid, openedAtMs: timeMs, openedAtSeq: place.seq, sign: signWith },
    })
  },
})

/** Raw public key of 32 bytes; the private one stays inside node:crypto. */
const createKeyPair = (): { readonly publicKey: Uint8Array; readonly privateKey: KeyObject } => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  return { publicKey: new Uint8Array(spki.subarray(spki.length - 32)), privateKey }
}

/** What every event has that the service makes itself: principal is the ledger, transport internal, request id its own id. */
export const toServiceEnvelope = (
  origin: string,
  type: 'LedgerCreated' | 'EpochOpened' | 'RootRotated' | 'LedgerRecovered' | 'LedgerRolled',
  timeMs: number,
) => {
  const id = createUuidV7(timeMs)
  return {
    id,
    v: 1,
    action: `kms:${type}`,
    principal: { id: origin, type: 'Service' },
    authn: { method: 'internal' },
    transport: 'internal' as const,
    resources: [{ type: 'Ledger', id: origin }],
    outcome: 'success' as const,
    request_id: id,
  }
}

export interface EpochLimits {
  readonly commitsRenew: number
  readonly commitsMax: number
  readonly ageRenewMs: number
  readonly ageMaxMs: number
}

export const EPOCH_LIMITS: EpochLimits = {
  commitsRenew: LIMITS.epochCommitsRenew,
  commitsMax: LIMITS.epochCommitsMax,
  ageRenewMs: LIMITS.epochAgeRenewMs,
  ageMaxMs: LIMITS.epochAgeMaxMs,
}

/** Whether a new epoch key is wanted (`try`: go on with the old one if the HSM is away) or needed (`must`). */
export const judgeAge = (
  epoch: Epoch,
  now: { readonly seq: number; readonly ms: number },
  limits: EpochLimits,
): 'fresh' | 'try' | 'must' => {
  const commits = now.seq - epoch.openedAtSeq
  const ageMs = now.ms - epoch.openedAtMs
  if (commits >= limits.commitsMax || ageMs >= limits.ageMaxMs) return 'must'
  return commits >= limits.commitsRenew || ageMs >= limits.ageRenewMs ? 'try' : 'fresh'
}
