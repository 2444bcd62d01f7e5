import Type from 'typebox'
import { ConnectionId, PinRef, PKCS11_TEXTS, ScopeOwner } from '../hsmConnections.ts'
import { Fields, OneOf } from '../primitives.ts'
import { claim, state } from './eventType.ts'

/** What changed the HSM backends that are opened at run time. `name` is the id of the connection and of its backend. */
export const HSM_CONNECTION_EVENTS = {
  HsmConnectionCreated: state(
    Fields({
      name: ConnectionId,
      ...PKCS11_TEXTS,
      pin_ref: PinRef,
      scope_owner: Type.Optional(ScopeOwner),
      handle_key: OneOf(['found', 'made'], 'Whether the token had a handle key of this ledger already'),
      ...claim,
    }),
  ),
  HsmConnectionDeleted: state(Fields({ name: ConnectionId, ...claim })),
} as const
