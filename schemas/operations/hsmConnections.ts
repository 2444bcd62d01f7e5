import Type from 'typebox'
import { contract, Reply } from '../contract.ts'
import { BackendState, ConnectionId, HsmConnection, Pkcs11Place, ScopeOwner } from '../hsmConnections.ts'
import { Fields, Page } from '../primitives.ts'

const one = { connection_id: ConnectionId }
const path = '/hsm-connections/:connection_id'

export const CreateHsmConnection = contract({
  name: 'CreateHsmConnection',
  summary: 'Opens one more HSM token as a backend, and makes its handle key if the token is new to this ledger',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/hsm-connections', status: 201 }],
  request: Fields({ ...one, pkcs11: Pkcs11Place, scope_owner: Type.Optional(ScopeOwner) }),
  reply: Reply({ connection: HsmConnection }),
  codes: ['ALREADY_EXISTS', 'HSM_UNAVAILABLE', 'UNSUPPORTED_BY_HSM', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
  example: {
    request: {
      connection_id: 'hsm-2',
      pkcs11: { lib_path: '/usr/lib/softhsm/libsofthsm2.so', token_label: 'second', pin_ref: 'second' },
    },
  },
})

export const GetHsmConnection = contract({
  name: 'GetHsmConnection',
  summary: 'Shows an HSM connection',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path, status: 200 }],
  request: Fields(one),
  reply: Reply({ connection: HsmConnection }),
  codes: ['NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { connection_id: 'hsm-2' } },
})

export const ListHsmConnections = contract({
  name: 'ListHsmConnections',
  summary: 'Lists the HSM connections in order of their ids; backends of the configuration are not among them',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/hsm-connections', status: 200 }],
  request: Fields(Page),
  reply: Reply({ items: Type.Array(HsmConnection), next_cursor: Type.Optional(Type.String()) }),
  codes: [],
  example: { request: { max_results: 10 } },
})

export const DeleteHsmConnection = contract({
  name: 'DeleteHsmConnection',
  summary: 'Closes an HSM connection that no living key version needs; its id is not used again',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'DELETE', path, status: 200 }],
  request: Fields(one),
  reply: Reply(one),
  codes: ['NOT_FOUND', 'KEY_HAS_DEPENDENTS', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
  example: { request: { connection_id: 'hsm-2' } },
})

export const GetHsmConnectionStatus = contract({
  name: 'GetHsmConnectionStatus',
  summary: 'Shows whether a backend answers, one of the configuration included',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: `${path}/status`, status: 200 }],
  request: Fields(one),
  reply: Reply({ ...one, status: BackendState }),
  codes: ['NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { connection_id: 'hsm-2' } },
})
