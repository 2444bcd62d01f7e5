import type { Instruction } from '../core/instruction.ts'
import type { Duty } from './duty.ts'
import { toWrappingKey } from './imports.ts'
import { planInstruction, planRecord } from './operation.ts'

/**
 * Ends wrapping keys: one whose time is over is closed, one that is used or closed is destroyed. So the record that
 * nothing is imported under it any more is durable before the HSM is told, and a new writer goes on where the last ended.
 */
export const endImports: Duty = {
  name: 'DestroyWrappingKey',
  needsTrueTime: true,
  *findDue(view, { nowMs }) {
    for (const record of view.imports.byLid.values())
      if (record.state !== 'open' || record.expiresAtMs <= nowMs) yield record.lid
  },
  plan(subject, view, { nowMs }) {
    const record = view.imports.byLid.get(subject)
    if (record === undefined) return undefined
    const { lid, backend } = record
    if (record.state === 'open') {
      if (record.expiresAtMs > nowMs) return undefined
      return planRecord([{ kind: 'import', lid }], () => ({
        event: { type: 'ImportParametersExpired', data: { lid } },
        resources: [{ lid, version: 1 }],
        toReply: () => ({}),
      }))
    }
    const instruction: Instruction & { kind: 'destroyKey' } = {
      kind: 'destroyKey',
      backend,
      key: toWrappingKey(record),
    }
    return planInstruction(instruction, [], ({ destroyed }) => ({
      event: { type: 'ImportWrappingKeyDestroyed', data: { lid, confirmed: destroyed } },
      resources: [{ lid, version: 1 }],
      toReply: () => ({}),
    }))
  },
}
