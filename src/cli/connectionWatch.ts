import type { HsmConnectionRecord } from '../../projections/hsmConnections.ts'
import type { View } from '../../projections/view.ts'
import type { Event } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'

export interface ConnectionWatch {
  /**
   * Makes the open backends those of the ledger: opens each living HSM connection, whether its token answers now or not,
   * and closes each that was deleted. What the configuration no longer allows stays closed, and is said in the log.
   */
  follow(): Promise<void>
  /** Looks at the events of a durable commit, and closes in the background what they deleted. */
  note(events: readonly Pick<Event, 'type'>[]): void
}

interface Options {
  readonly hsm: Hsm
  readonly ledger: { view(): View }
  readonly telemetry: Pick<Telemetry, 'log'>
  /** Ids of the backends of the configuration; one of them goes before a connection of the same id. */
  readonly configured: readonly string[]
}

export const createConnectionWatch = (options: Options): ConnectionWatch => {
  const { hsm, ledger, telemetry, configured } = options
  const open = async ({ name, libPath, tokenLabel, pinRef }: HsmConnectionRecord): Promise<void> => {
    if (configured.includes(name)) return
    const done = await hsm.openBackend(name, { libPath, tokenLabel, pinRef })
    if (!done.ok)
      telemetry.log('error', 'an HSM connection of the ledger cannot be opened', {
        backend: name,
        code: done.error.code,
        why: done.error.message,
      })
  }
  const follow = async (): Promise<void> => {
    const { byName, deleted } = ledger.view().hsmConnections
    // Only those that were deleted: one that is being made is not in the ledger yet, and must stay.
    const closing = [...deleted.keys()].map((name) => close(options, name))
    await Promise.all([...closing, ...[...byName.values()].map(open)])
  }
  return {
    follow,
    note(events) {
      if (events.some(({ type }) => type === 'HsmConnectionDeleted'))
        follow().catch(() => telemetry.log('error', 'a deleted HSM connection could not be closed'))
    },
  }
}

/** Nobody looks at the token after this, and the ledger names nothing on it: what is left of ours is said now. */
const close = async ({ hsm, telemetry, configured }: Options, backend: string): Promise<void> => {
  if (configured.includes(backend) || !hsm.status().some((status) => status.backend === backend)) return
  const left = await hsm.inventory(backend, AbortSignal.timeout(LIMITS.hsmStartDeadlineMs))
  if (!left.ok)
    telemetry.log('warn', 'the token of a deleted HSM connection could not be looked through', {
      backend,
      code: left.error.code,
    })
  else
    for (const { label } of left.value)
      telemetry.log('warn', 'orphan: the ledger does not name an HSM object', { backend, label })
  await hsm.closeBackend(backend)
}
