import { ALREADY_USED, checkGuard, type Guard } from '../../projections/guards.ts'
import type { HsmConnectionRecord } from '../../projections/hsmConnections.ts'
import type { IdempotencyRecord } from '../../projections/idempotency.ts'
import type { View } from '../../projections/view.ts'
import type { HsmConnectionBody } from '../../schemas/hsmConnections.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Body } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { fail, must, ok } from '../core/result.ts'
import { toTimestamp } from './keyBody.ts'
import { type Facts, type Operation, planInstruction, planRecord, type Target, toClaim } from './operation.ts'

interface Input {
  readonly connection_id: string
}

/** Changes of one connection take turns. */
const turn = ({ connection_id }: Input): string => connection_id

/** A backend of the configuration is no connection, and the PDP is told so; only its status can be asked for. */
const target = (action: string, { connection_id }: Input, view: View): Target => ({
  kind: 'resource',
  action,
  type: 'HsmConnection',
  id: connection_id,
  exists: view.hsmConnections.byName.has(connection_id),
})

const refer = (name: string) => [{ type: 'HsmConnection', id: name } as const]

const NO_CONNECTION = fail('NOT_FOUND', 'connection_id: there is no such HSM connection')

/** The public view of a connection; one that is not open, for whatever reason, is DOWN. */
export const toConnectionBody = (record: HsmConnectionRecord, facts: Facts): HsmConnectionBody => ({
  connection_id: record.name,
  pkcs11: { lib_path: record.libPath, token_label: record.tokenLabel, pin_ref: record.pinRef },
  ...(record.scopeOwner === undefined ? {} : { scope_owner: record.scopeOwner }),
  status: facts.findBackendState(record.name) ?? 'DOWN',
  created_at: toTimestamp(record.createdAtMs),
})

/** The reply to the first request, and to a repeated one whatever has become of the connection since. */
const toCreated = (view: View, name: string, facts: Facts): Body<'CreateHsmConnection'> => {
  const { byName, deleted } = view.hsmConnections
  const record = byName.get(name) ?? deleted.get(name)
  must(record !== undefined, `HSM connection ${name} is not in the view that folded its event`)
  return { connection: toConnectionBody(record, facts) }
}

const takeName = ({ name }: IdempotencyRecord): string => {
  must(name !== undefined, 'a change of an HSM connection says its name')
  return name
}

export const createHsmConnection: Operation<'CreateHsmConnection'> = {
  turn,
  replay: (success, view, facts) => toCreated(view, takeName(success), facts),
  targets: (input, _facts, view) => ok([target('kms:CreateHsmConnection', input, view)]),
  plan(input, { view, facts }) {
    const { connection_id: name, pkcs11, scope_owner } = input
    if (facts.isConfigured(name)) return { ok: false, error: ALREADY_USED }
    const guard: Guard = { kind: 'connectionRoom', name, connectionsMax: LIMITS.hsmConnectionsMax }
    const failure = checkGuard(view, guard)
    if (failure !== undefined) return { ok: false, error: failure }
    const { lib_path, token_label, pin_ref } = pkcs11
    const instruction: Instruction & { kind: 'openBackend' } = {
      kind: 'openBackend',
      backend: name,
      connection: { libPath: lib_path, tokenLabel: token_label, pinRef: pin_ref },
    }
    return ok(
      planInstruction(instruction, [guard], ({ handleKey }) => ({
        event: {
          type: 'HsmConnectionCreated',
          data: {
            name,
            lib_path,
            token_label,
            pin_ref,
            ...(scope_owner === undefined ? {} : { scope_owner }),
            handle_key: handleKey,
            ...toClaim(facts),
          },
        },
        resources: refer(name),
        toReply: (folded) => toCreated(folded, name, facts),
        compensation: { kind: 'closeBackend', backend: name },
      })),
    )
  },
}

/** The backend itself is closed once the record is durable (`src/cli/connectionWatch.ts`): what is recorded is in force. */
export const deleteHsmConnection: Operation<'DeleteHsmConnection'> = {
  turn,
  replay: (success) => ({ connection_id: takeName(success) }),
  targets: (input, _facts, view) => ok([target('kms:DeleteHsmConnection', input, view)]),
  plan({ connection_id: name }, { view, facts }) {
    if (!view.hsmConnections.byName.has(name)) return NO_CONNECTION
    const unused: Guard = { kind: 'backendUnused', backend: name }
    const failure = checkGuard(view, unused)
    if (failure !== undefined) return { ok: false, error: failure }
    const plan = planRecord<Body<'DeleteHsmConnection'>>([{ kind: 'connection', name }, unused], () => ({
      event: { type: 'HsmConnectionDeleted', data: { name, ...toClaim(facts) } },
      resources: refer(name),
      toReply: () => ({ connection_id: name }),
    }))
    return ok({ ...plan, closes: name })
  },
}

export const getHsmConnection: Operation<'GetHsmConnection'> = {
  targets: (input, _facts, view) => ok([target('kms:GetHsmConnection', input, view)]),
  plan({ connection_id: name }, { view, facts }) {
    const record = view.hsmConnections.byName.get(name)
    if (record === undefined) return NO_CONNECTION
    return ok(
      planRecord([{ kind: 'connection', name }], () => ({
        event: { type: 'HsmConnectionRead', data: { name } },
        resources: refer(name),
        toReply: () => ({ connection: toConnectionBody(record, facts) }),
      })),
    )
  },
}

export const getHsmConnectionStatus: Operation<'GetHsmConnectionStatus'> = {
  targets: (input, _facts, view) => ok([target('kms:GetHsmConnectionStatus', input, view)]),
  plan({ connection_id: name }, { view, facts }) {
    const isConnection = view.hsmConnections.byName.has(name)
    if (!isConnection && !facts.isConfigured(name)) return NO_CONNECTION
    return ok(
      planRecord(isConnection ? [{ kind: 'connection', name }] : [], () => ({
        event: { type: 'HsmConnectionRead', data: { name } },
        resources: refer(name),
        toReply: () => ({ connection_id: name, status: facts.findBackendState(name) ?? 'DOWN' }),
      })),
    )
  },
}
