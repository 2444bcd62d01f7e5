import Type from 'typebox'
import { BackendId, Bytes, Fields, Text } from '../primitives.ts'
import { count, raw32, signature, state, version } from './eventType.ts'

/** The ledger's own (see docs/LEDGER.md), and what concerns the service as a whole. */
export const LEDGER_EVENTS = {
  LedgerCreated: state(Fields({ root_public_key: raw32, context_key: Bytes(1, 256, 'sealed') })),
  EpochOpened: state(Fields({ writer: Text(1, 128), kid: Text(32, 32), public_key: raw32, attestation: signature })),
  RootRotated: state(Fields({ public_key: raw32, signature_new: signature })),
  LedgerRecovered: state(
    Fields({
      from: version,
      to: count,
      digest: raw32,
      lost: Type.Array(Fields({ size: count, hash: Text(64, 64) }), { maxItems: 64 }),
      reason: Text(1, 1024),
    }),
  ),
  LedgerRolled: state(Fields({ next_stream: Text(1, 64), archived_to: Fields({ size: count, root: raw32 }) })),
  PolicySetLoaded: state(Fields({ sha256: raw32, policies: count })),
  // Destruction of HSM objects that the ledger does not name, in two commits around it
  SweepStarted: state(Fields({ backend: BackendId, objects: version })),
  SweepFinished: state(Fields({ backend: BackendId, objects: version, destroyed: count })),
} as const
