import { resolveRef } from '../../projections/aliases.ts'
import type { Guard } from '../../projections/guards.ts'
import { walkNames } from '../../projections/names.ts'
import type { NamespaceRecord } from '../../projections/namespaces.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { RoutingEntry } from '../../schemas/routing.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { describeFindings, lintNamespace } from '../core/routingLint.ts'
import type { Finding } from '../core/routingRules.ts'
import { parseNameCursor, toNamePlace, toPlaceName } from './cursor.ts'
import { toTimestamp } from './keyBody.ts'
import {
  type Candidate,
  type Facts,
  type Operation,
  planRecord,
  type Resolved,
  type Target,
  toClaim,
} from './operation.ts'

const findNamespace = (view: View, name: string): NamespaceRecord => {
  const namespace = view.namespaces.byName.get(name)
  must(namespace !== undefined, `namespace ${name} is not in the view`)
  return namespace
}

const targetNamespace = (action: string, name: string, view: View): Target => ({
  kind: 'resource',
  action,
  type: 'Namespace',
  id: name,
  exists: view.namespaces.byName.has(name),
})

const findAttachment = (entries: readonly RoutingEntry[]): string | undefined =>
  entries.find(({ _attachment_ }) => _attachment_ !== undefined)?._attachment_

/** What a name with variables leads to is known only with a key's attributes. */
const isLiteral = (text: string | undefined): text is string => text !== undefined && !text.includes('$')

const findKeyFault = (ref: string, view: View): string | undefined => {
  const lid = resolveRef(view.aliases, ref)
  const state = lid && view.keys.byLid.get(lid)?.state
  if (state === undefined) return 'there is no such key'
  return state === 'destroying' || state === 'destroyed' ? `the key is ${state}` : undefined
}

/** Whoever the backend is for: rules may be written for the owner of a connection. */
const findBackendFault = (id: string, view: View, facts: Facts): string | undefined =>
  facts.isConfigured(id) || view.hsmConnections.byName.has(id) ? undefined : 'there is no such backend'

/** The parents and backends that rules name and that are not there. They are well formed. */
const findAbsent = (rules: readonly RoutingEntry[], view: View, facts: Facts): readonly Finding[] =>
  rules.flatMap(({ parent, backend_id }, at) => {
    const key = isLiteral(parent) ? findKeyFault(parent, view) : undefined
    const backend = isLiteral(backend_id) ? findBackendFault(backend_id, view, facts) : undefined
    return [
      ...(key === undefined ? [] : [{ place: `rules.${at}.parent`, problem: key }]),
      ...(backend === undefined ? [] : [{ place: `rules.${at}.backend_id`, problem: backend }]),
    ]
  })

/** INVALID_REQUEST with what is wrong in rules that may not be registered. */
const checkRules = (name: string, rules: readonly RoutingEntry[], { view, facts }: Resolved): Result<true> => {
  const all = view.namespaces.byName
  if (!all.has(name) && all.size >= LIMITS.namespacesMax)
    return fail('INVALID_REQUEST', `name: there are ${LIMITS.namespacesMax} namespaces, and may not be more`)
  const findings = lintNamespace(name, rules, new Map(all.map((one) => findAttachment(one.rules))))
  const faults = findings.length > 0 ? findings : findAbsent(rules, view, facts)
  return faults.length === 0 ? ok(true) : fail('INVALID_REQUEST', describeFindings(faults))
}

export const registerNamespace: Operation<'RegisterNamespace'> = {
  // All together: whether rules make a cycle hangs on those of other namespaces.
  turn: () => 'namespaces',
  /** What the first request answered, whatever has been registered since. */
  replay({ name, version }) {
    must(name !== undefined && version !== undefined, 'a registration says its name and version')
    return { name, revision: version }
  },
  targets({ name, rules }, _facts, view) {
    const attachment = findAttachment(rules)
    return ok([
      targetNamespace('kms:RegisterNamespace', name, view),
      ...(attachment === undefined ? [] : [targetNamespace('kms:AttachNamespace', attachment, view)]),
    ])
  },
  plan({ name, rules, if_revision }, resolved) {
    const { view, facts } = resolved
    const revision = view.namespaces.byName.get(name)?.revision ?? 0
    if (if_revision !== undefined && if_revision !== revision)
      return fail('REVISION_CONFLICT', `if_revision: the namespace is at revision ${revision}`)
    const checked = checkRules(name, rules, resolved)
    if (!checked.ok) return checked
    const guard: Guard = { kind: 'registrations', registrations: view.namespaces.registrations }
    const version = revision + 1
    return ok(
      planRecord([guard], () => ({
        event: { type: 'NamespaceRegistered', data: { name, version, rules, ...toClaim(facts) } },
        resources: [{ type: 'Namespace', id: name }],
        toReply: () => ({ name, revision: version }),
      })),
    )
  },
}

const toItem = ({ name, revision, createdAtMs, updatedAtMs }: NamespaceRecord) => ({
  name,
  revision,
  created_at: toTimestamp(createdAtMs),
  updated_at: toTimestamp(updatedAtMs),
})

export const describeNamespace: Operation<'DescribeNamespace'> = {
  targets: ({ name }, _facts, view) => ok([targetNamespace('kms:DescribeNamespace', name, view)]),
  plan({ name }, { view }) {
    const record = view.namespaces.byName.get(name)
    if (record === undefined) return fail('NOT_FOUND', 'name: there is no such namespace')
    const { revision, rules } = record
    return ok(
      planRecord([{ kind: 'namespace', name, revision }], () => ({
        event: { type: 'NamespaceDescribed', data: { name, version: revision } },
        resources: [{ type: 'Namespace', id: name }],
        toReply: () => ({ ...toItem(record), rules: [...rules] }),
      })),
    )
  },
}

/** About what one item takes in a JSON reply, from above. */
const ITEM_BYTES = 256

function* walkNamespaces(view: View, from: string): Generator<Candidate> {
  for (const name of walkNames(view.namespaces.names, from))
    yield {
      target: targetNamespace('kms:DescribeNamespace', name, view),
      place: toNamePlace(name),
      bytes: ITEM_BYTES,
    }
}

export const listNamespaces: Operation<'ListNamespaces'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:ListNamespaces' }]),
  candidates(input, _keys, view) {
    const from = parseNameCursor(input.cursor)
    return from.ok ? ok(walkNamespaces(view, from.value)) : from
  },
  plan(_input, { view, page }) {
    must(page !== undefined, 'a list is planned with its page')
    return ok(
      planRecord([], () => ({
        event: { type: 'NamespacesListed', data: { items: page.items.length } },
        resources: [],
        toReply: () => ({
          items: page.items.map(({ place }) => toItem(findNamespace(view, toPlaceName(place)))),
          ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
        }),
      })),
    )
  },
}
