import type { NatsConnection } from '@nats-io/transport-node'
import type { Pin } from '../core/chainState.ts'
import { decodeCommit } from '../core/commit.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import { parseLedgerEvent } from '../core/ledgerEvents.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import { createAnchorWatch } from './anchors/watch.ts'
import type { StoredMessage } from './commitStream.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { createNatsStream } from './natsStream.ts'
import { readWhole } from './readWhole.ts'
import { createVerifier, type Tip } from './tip.ts'

/** Commit 1, and the pin that it makes. */
export interface First {
  readonly pin: Pin
  readonly tip: Tip
}

interface Known {
  readonly connection: NatsConnection
  readonly origin: string
  readonly telemetry: Telemetry
  /** The raw public keys of the roots that the token holds. */
  readonly roots: readonly Uint8Array[]
  /** Whether the data directory pins this ledger. */
  isPinned(pin: Pin): boolean
}

/**
 * The genesis of the ledger that is in the stream, if it is this token's: the token holds its root, or the ledger is the pinned one
 * and the token holds the root that is in force now, after rotations. Faults: `unreachable`, `genesis_refused`, those of {@link readWhole}.
 */
export const readExisting = async (known: Known, signal: AbortSignal): Promise<LedgerResult<First>> => {
  const { connection, origin, telemetry } = known
  const back = await createNatsStream(connection).readBack(1)
  if (back.kind !== 'found') return faulty('unreachable', 'commit 1 cannot be read; run init again')
  const refuse = (why: string) =>
    faulty('genesis_refused', `the stream holds another ledger than ${origin} with a root key of this HSM: ${why}`)
  const rootPublicKey = readRoot(back.message)
  if (rootPublicKey === undefined) return refuse('it does not begin with LedgerCreated')
  const pin = { origin, rootPublicKey }
  const holds = (root: Uint8Array): boolean => known.roots.some((one) => Buffer.from(one).equals(root))
  if (!holds(rootPublicKey) && !known.isPinned(pin)) return refuse('its root key is neither on the token nor pinned')
  const verifier = createVerifier(pin, createEventCheck())
  const tip = verifier.advance(verifier.start, back.message)
  if (!tip.ok) return refuse(tip.error.message)
  if (!holds(rootPublicKey)) {
    const begin = { pin, watch: createAnchorWatch([]), tree: undefined, telemetry }
    const whole = await readWhole({ connection, verifier, begin }, () => undefined, signal)
    if (!whole.ok) return whole
    if (!holds(whole.value.tip.chain.root.raw)) return refuse('the token does not hold the root key that is in force')
  }
  return ok({ pin, tip: tip.value })
}

/** The public key that commit 1 names; nothing of it is verified yet. */
const readRoot = ({ payload }: StoredMessage): Uint8Array | undefined => {
  const commit = decodeCommit(payload)
  const [event] = commit.ok ? commit.value.events : []
  const parsed = event === undefined ? undefined : parseLedgerEvent(event)
  return parsed?.ok && parsed.value.type === 'LedgerCreated' ? parsed.value.rootPublicKey : undefined
}
