import type { HsmConnectionRecord } from '../../projections/hsmConnections.ts'
import type { View } from '../../projections/view.ts'
import type { Event } from '../../schemas/events.ts'
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

export const createConnectionWatch = ({ hsm, ledger, telemetry, configured }: Options): ConnectionWatch => {
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
    const closing = [...deleted.keys()].map((name) => hsm.closeBackend(name))
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
