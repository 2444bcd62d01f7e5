import Type from 'typebox'
import { contract, Reply } from '../contract.ts'
import { LIMITS } from '../limits.ts'
import { AttributeSet, BackendId, Fields, Lid, OneOf, Page, Revision, Text, Timestamp } from '../primitives.ts'
import { NamespaceName, ROUTING_OUTCOMES, RoutingEntries } from '../routing.ts'

const named = { name: NamespaceName }
const dated = { ...named, revision: Revision, created_at: Timestamp, updated_at: Timestamp }

export const RegisterNamespace = contract({
  name: 'RegisterNamespace',
  summary: 'Sets the rules by which new keys get their parent and backend; keys that exist stay where they are',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/namespaces', status: 201 }],
  request: Fields({
    ...named,
    rules: RoutingEntries,
    if_revision: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER,
        description: 'The revision that this one shall follow; 0 if there must be none yet',
      }),
    ),
  }),
  reply: Reply({ ...named, revision: Revision }),
  codes: ['REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
  example: {
    request: { name: 'example', rules: [{ match: { stage: 'sandbox' }, deny: 'no keys for sandboxes' }] },
  },
})

export const ListNamespaces = contract({
  name: 'ListNamespaces',
  summary: 'Lists the namespaces that the caller may describe, in order of their names',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/namespaces', status: 200 }],
  request: Fields(Page),
  reply: Reply({ items: Type.Array(Fields(dated)), next_cursor: Type.Optional(Type.String()) }),
  codes: [],
  example: { request: { max_results: 10 } },
})

export const DescribeNamespace = contract({
  name: 'DescribeNamespace',
  summary: 'Shows the rules of a namespace',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/namespaces/:name', status: 200 }],
  request: Fields(named),
  reply: Reply({ ...dated, rules: RoutingEntries }),
  codes: ['NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { name: 'example' } },
})

export const ExplainRouting = contract({
  name: 'ExplainRouting',
  summary: 'Says which place a key with these attributes would get, without making it',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'POST', path: '/routing/explain', status: 200 }],
  request: Fields({
    attributes: AttributeSet,
    namespace: Type.Optional(NamespaceName),
    backend_id: Type.Optional(BackendId),
  }),
  reply: Reply({
    outcome: OneOf(ROUTING_OUTCOMES, 'NO_MATCH: no rule is for such a key, and it would be refused too'),
    selected_backend_id: Type.Optional(BackendId),
    parent_key_id: Type.Optional(Lid),
    matched_namespace: Type.Optional(NamespaceName),
    matched_revision: Type.Optional(Revision),
    matched_rule_index: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'Place of the rule that decided in the rules of matched_namespace, from 0',
      }),
    ),
    deny_reason: Type.Optional(Text(1, LIMITS.routingDenyBytesMax)),
  }),
  codes: ['KEY_NOT_FOUND', 'NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { attributes: { tenant: 'acme' } } },
})
