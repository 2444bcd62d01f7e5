import Type, { type Static } from 'typebox'
import { LIMITS } from './limits.ts'
import { BackendId, Fields, OneOf, Text, Timestamp } from './primitives.ts'

/** The id of a connection is that of its backend, and stays it for ever. */
export const ConnectionId = BackendId

/** Never a path: the name of a file in the directory that the configuration names. */
export const PinRef = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'Name of a file with the user PIN, in the directory hsm.pin_dir of the configuration',
})

export const PKCS11_TEXTS = {
  lib_path: Text(
    1,
    LIMITS.libraryPathBytesMax,
    'PKCS#11 library, as hsm.allowed_libraries of the configuration spells it',
  ),
  token_label: Text(1, LIMITS.tokenLabelBytesMax, 'Label of the token'),
}

export const Pkcs11Place = Fields({ ...PKCS11_TEXTS, pin_ref: PinRef })

export const ScopeOwner = Text(
  1,
  LIMITS.principalIdBytesMax,
  'Id of the principal that alone may place keys there; whoever is authorized may use them',
)

export const BACKEND_STATES = ['HEALTHY', 'DEGRADED', 'DOWN'] as const
export const BackendState = OneOf(
  BACKEND_STATES,
  'DEGRADED: fewer processes than configured are up; DOWN: its keys answer HSM_UNAVAILABLE',
)

export const HsmConnection = Fields({
  connection_id: ConnectionId,
  pkcs11: Pkcs11Place,
  scope_owner: Type.Optional(ScopeOwner),
  status: BackendState,
  created_at: Timestamp,
})
export type HsmConnectionBody = Static<typeof HsmConnection>
