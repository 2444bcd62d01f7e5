import type { CheckpointStatus, Telemetry } from '../../core/ports.ts'
import type { Anchor, Kept, SignedCheckpoint } from './anchor.ts'

/** Which checkpoint enough anchors have. */
export interface Agreement {
  note(anchor: Anchor, kept: Kept, signed: SignedCheckpoint): void
  status(latest: SignedCheckpoint | undefined, nowMs: number): CheckpointStatus
}

type Place = Pick<SignedCheckpoint, 'signedAtMs'> & { readonly size: number }

/** Counts per anchor the newest checkpoint that it has, and says in the log when an anchor fails and when it is back. */
export const createAgreement = ({
  anchors,
  required,
  requiredWitnesses,
  telemetry,
}: {
  readonly anchors: readonly Anchor[]
  readonly required: number
  readonly requiredWitnesses: number
  readonly telemetry: Telemetry
}): Agreement => {
  const places = new Map<Anchor, Place>()
  const failures = new Map<Anchor, Exclude<Kept, { kind: 'kept' }>>()

  const findAnchored = (): Place | undefined => {
    const all = findNth(list(anchors), required)
    const witnessed = findNth(list(anchors.filter(({ witness }) => witness)), requiredWitnesses)
    if (requiredWitnesses === 0) return all
    return all === undefined || witnessed === undefined ? undefined : all.size < witnessed.size ? all : witnessed
  }
  const list = (some: readonly Anchor[]): readonly Place[] =>
    some.flatMap((anchor) => places.get(anchor) ?? []).sort((a, b) => b.size - a.size)

  return {
    note(anchor, kept, { checkpoint, signedAtMs }) {
      const before = failures.get(anchor)
      if (kept.kind === 'kept') {
        places.set(anchor, { size: checkpoint.size, signedAtMs })
        failures.delete(anchor)
        if (before !== undefined) telemetry.log('info', 'an anchor is back', { anchor: anchor.name })
        return
      }
      failures.set(anchor, kept)
      if (before?.kind === kept.kind) return
      const { size } = checkpoint
      if (kept.kind !== 'unanswered')
        telemetry.log('error', 'an anchor remembers another ledger, or a longer one', {
          anchor: anchor.name,
          why: kept.why,
          size,
        })
      else telemetry.log('warn', 'an anchor has no new checkpoint', { anchor: anchor.name, why: kept.why, size })
    },
    status(latest, nowMs) {
      const anchored = findAnchored()
      return {
        ...(latest === undefined ? {} : { signed: { size: latest.checkpoint.size, ageMs: nowMs - latest.signedAtMs } }),
        ...(anchored === undefined ? {} : { anchored: { size: anchored.size, ageMs: nowMs - anchored.signedAtMs } }),
        anchors: anchors.map((anchor) => {
          const [place, failure] = [places.get(anchor), failures.get(anchor)]
          return {
            name: anchor.name,
            ...(place === undefined ? {} : { size: place.size }),
            ...(failure === undefined ? {} : { failing: failure.kind, why: failure.why }),
          }
        }),
      }
    },
  }
}

/** The newest that `count` of them have. */
const findNth = (places: readonly Place[], count: number): Place | undefined => places[Math.max(count, 1) - 1]
