import type { ChainState } from './chainState.ts'
import { type Commit, isCommitSignedBy } from './commit.ts'
import { isSignedBy, parseVerifyKey } from './ed25519.ts'
import { digestOf, startGap } from './gap.ts'
import { type LedgerEvent, toEpochAttestation, toRootAttestation } from './ledgerEvents.ts'
import { ok, type Result } from './result.ts'

/** The four kinds of commit that stand alone and have their own signer; `LedgerRolled` is an ordinary commit. */
export type SpecialEvent = Exclude<LedgerEvent, { type: 'LedgerRolled' }>
/** What a special commit changes beside its place, or why it is not valid. */
export type Change = Result<Partial<ChainState>, string>
const no = (error: string): Change => ({ ok: false, error })

/** Judges a special commit that goes on from the last valid one (docs/LEDGER.md, "Who may sign what"). */
export const toChange = (state: ChainState, commit: Commit, event: SpecialEvent): Change => {
  switch (event.type) {
    case 'LedgerCreated':
      return createLedger(state, commit, event)
    case 'EpochOpened':
      return openEpoch(state, commit, event)
    case 'RootRotated':
      return rotateRoot(state, commit, event)
    case 'LedgerRecovered':
      return recoverLedger(state, commit, event)
    default:
      return event satisfies never
  }
}

/** Kind 1. `prev` zeros and `first` 0 are the state before genesis, checked like every commit's. */
const createLedger = (state: ChainState, commit: Commit, event: SpecialEvent & { type: 'LedgerCreated' }): Change => {
  if (state.expects !== 'genesis' || commit.head.seq !== 1) return no('stands elsewhere than at sequence 1')
  if (commit.head.epoch !== 0) return no('head.epoch is not 0')
  if (!Buffer.from(event.rootPublicKey).equals(state.root.raw)) return no('the root public key is not the pinned one')
  return findForeignRoot(state, commit) ?? ok({ expects: 'epoch' })
}

/** Kind 2. */
const openEpoch = (state: ChainState, commit: Commit, event: SpecialEvent & { type: 'EpochOpened' }): Change => {
  const { head, kid } = commit
  if (state.expects === 'genesis') return no('stands before LedgerCreated')
  if (head.epoch !== state.epoch + 1) return no(`head.epoch is ${head.epoch}, the last epoch ${state.epoch}`)
  const key = parseVerifyKey(event.publicKey)
  if (!key.ok) return no(key.error)
  if (event.kid !== key.value.kid || kid !== key.value.kid) return no('the kid is not of the public key')
  if (!isCommitSignedBy(key.value, commit)) return no('the signature is not by the new epoch key')
  const { origin, epoch, seq, prev } = head
  const attested = toEpochAttestation({ origin, epoch, seq, prev, kid, publicKey: event.publicKey })
  if (!isSignedBy(state.root, attested, event.attestation))
    return no('the attestation is not by the root for this place')
  return ok({ epoch, epochKey: key.value, expects: 'append' })
}

/** Kind 3. */
const rotateRoot = (state: ChainState, commit: Commit, event: SpecialEvent & { type: 'RootRotated' }): Change => {
  if (state.expects === 'genesis' || state.expects === 'epoch') return no('stands where an epoch must be opened')
  const { origin, seq, prev } = commit.head
  const foreign = findForeignRoot(state, commit)
  if (foreign !== undefined) return foreign
  const root = parseVerifyKey(event.publicKey)
  if (!root.ok) return no(root.error)
  const attested = toRootAttestation({ origin, seq, prev, publicKey: event.publicKey })
  if (!isSignedBy(root.value, attested, event.signatureNew))
    return no('signature_new is not by the new root for this place')
  return ok({ root: root.value, expects: 'epoch' })
}

/** Kind 4. */
const recoverLedger = (
  state: ChainState,
  commit: Commit,
  event: SpecialEvent & { type: 'LedgerRecovered' },
): Change => {
  if (state.expects === 'genesis') return no('stands before LedgerCreated')
  const foreign = findForeignRoot(state, commit)
  if (foreign !== undefined) return foreign
  const gap = state.gap ?? startGap(state.seq + 1)
  if (event.from !== gap.from || event.to !== gap.to || event.to !== commit.head.seq - 1)
    return no(`from and to do not name the sequences ${gap.from} to ${gap.to}`)
  if (!Buffer.from(event.digest).equals(digestOf(gap))) return no('the digest is not of what stands there')
  return ok({ gap: undefined, expects: state.expects === 'epoch' ? 'epoch' : 'recovered' })
}

/** Kinds 1, 3 and 4 are signed by the root in force, in the epoch that stands. */
const findForeignRoot = (state: ChainState, commit: Commit): Change | undefined => {
  if (commit.head.epoch !== state.epoch) return no(`head.epoch is ${commit.head.epoch}, not ${state.epoch}`)
  if (commit.kid !== state.root.kid) return no('the kid is not of the root')
  return isCommitSignedBy(state.root, commit) ? undefined : no('the signature is not by the root')
}
