import Type from 'typebox'
import { KeySpec, KeyUsage, ROTATION_CAUSES, WRAPPING_ALGORITHMS } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { AttributeSet, Fields, Lid, OneOf, TagKey, Tags, Text } from '../primitives.ts'
import { NamespaceName } from '../routing.ts'
import { claim, count, Material, raw32, reason, state, version } from './eventType.ts'

const key = { lid: Lid, ...claim }
const unixMs = Type.Integer({ minimum: 0 })
const cascading = Fields({ ...key, affected: count })

/** What chose the key's place: the namespace that was named, and the rule that decided, in it or in one it is attached to. */
const Routing = Fields({
  namespace: NamespaceName,
  by: Fields({ namespace: NamespaceName, version, rule: count }),
})

const made = {
  ...key,
  version: Type.Literal(1),
  spec: KeySpec,
  usage: KeyUsage,
  description: Text(0, LIMITS.descriptionBytesMax),
  user_tags: Tags,
  identity_tags: AttributeSet,
  canonicalization_version: Type.Literal(1),
  parent: Type.Optional(Lid),
  routing: Type.Optional(Routing),
  exportable: Type.Boolean(),
  material: Material,
}

/** What changed a key or one of its versions. */
export const KEY_EVENTS = {
  KeyCreated: state(Fields(made)),
  /** A key that was made elsewhere; `import` is the LID of the wrapping key it came under. */
  KeyImported: state(Fields({ ...made, import: Lid })),
  KeyUpdated: state(Fields({ ...key, description: Text(0, LIMITS.descriptionBytesMax) })),
  KeyEnabled: state(cascading),
  KeyDisabled: state(cascading),
  KeyCompromised: state(Fields({ ...key, affected: count, reason })),
  /** The tags given replace those of the same key; the others stay. */
  KeyTagged: state(Fields({ ...key, tags: Tags })),
  KeyUntagged: state(Fields({ ...key, tag_keys: Type.Array(TagKey, { maxItems: LIMITS.tagsMax }) })),
  /** Material left the HSM, wrapped under the RSA key of this SPKI. */
  KeyExported: state(Fields({ ...key, version, algorithm: OneOf(WRAPPING_ALGORITHMS), wrapping_key_sha256: raw32 })),
  KeyExportabilitySet: state(Fields({ ...key, exportable: Type.Boolean() })),
  // Versions
  KeyRotated: state(Fields({ ...key, version, material: Material, cause: OneOf(ROTATION_CAUSES) })),
  RotationPolicySet: state(
    Fields({ ...key, enabled: Type.Boolean(), interval_days: Type.Optional(Type.Integer({ minimum: 1 })) }),
  ),
  MinDecryptionVersionSet: state(Fields({ ...key, version })),
  /** Nothing cancels it; `KeyVersionDestroyed` follows when the HSM has confirmed. */
  KeyVersionDestructionStarted: state(Fields({ ...key, version })),
  /** `confirmed`: the HSM removed the object now; false if it was gone already. */
  KeyVersionDestroyed: state(Fields({ ...key, version, confirmed: Type.Boolean() })),
  /** A version's budget of messages is half used. */
  BudgetWarned: state(Fields({ ...key, version, count })),
  // Deletion
  KeyDeletionScheduled: state(Fields({ ...key, deletion_at: unixMs, cascade: Type.Boolean(), affected: count })),
  KeyDeletionCancelled: state(cascading),
  /** Nothing cancels it; `KeyDestroyed` follows when the HSM has confirmed every version. */
  KeyDestructionStarted: state(Fields(key)),
  /** `confirmed`: the versions whose objects the HSM removed now. Those not named were gone already. */
  KeyDestroyed: state(Fields({ ...key, confirmed: Type.Array(version, { maxItems: LIMITS.keyVersionsMax }) })),
} as const
