import Type from 'typebox'
import { KeySpec, WRAPPING_ALGORITHMS } from '../keys.ts'
import { Fields, Lid, OneOf } from '../primitives.ts'
import { Material, raw32, state } from './eventType.ts'

/** What becomes of a wrapping key. `lid` is its own, not that of the key which comes under it (`KeyImported.import`). */
export const IMPORT_EVENTS = {
  /** `token_hash` is keyed; who may use the token stands in the event's principal. */
  ImportParametersIssued: state(
    Fields({
      lid: Lid,
      spec: KeySpec,
      algorithm: OneOf(WRAPPING_ALGORITHMS),
      material: Material,
      token_hash: raw32,
      expires_at: Type.Integer({ minimum: 0 }),
    }),
  ),
  /** Nothing is imported under it any more; `ImportWrappingKeyDestroyed` follows, as it does after `KeyImported`. */
  ImportParametersExpired: state(Fields({ lid: Lid })),
  /** `confirmed`: the HSM removed the object now; false if it was gone already. */
  ImportWrappingKeyDestroyed: state(Fields({ lid: Lid, confirmed: Type.Boolean() })),
} as const
