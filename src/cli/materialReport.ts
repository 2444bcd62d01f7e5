import type { KeyVersionRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { Lid, MaterialRef } from '../core/instruction.ts'
import type { Hsm, HsmObject, Telemetry } from '../core/ports.ts'
import { toWrappingKey } from '../operations/imports.ts'
import { toMaterial } from '../operations/use.ts'

/** What the token and the ledger say of each other. */
export interface MaterialReport {
  readonly backend: string
  /** Objects of ours that no version in the ledger names: left by a crash, kept until `sweep`. */
  readonly orphans: readonly HsmObject[]
  /** Versions whose material the token does not hold, as `<lid>/<version>`. */
  readonly missing: ReadonlySet<string>
}

/** Names one version. */
export const toVersionName = (lid: Lid, version: number): string => `${lid}/${version}`

const listVersions = (view: View, backend: string, state: KeyVersionRecord['state']): readonly MaterialRef[] =>
  [...view.keys.byLid.values()].flatMap((record) =>
    record.versions
      .filter((version) => version.backend === backend && version.state === state)
      .map((version) => toMaterial(record, version)),
  )

/** Every living version whose material is on this backend, and the wrapping keys of imports. */
export const listMaterial = (view: View, backend: string): readonly MaterialRef[] => [
  ...listVersions(view, backend, 'enabled'),
  ...[...view.imports.byLid.values()].filter((record) => record.backend === backend).map(toWrappingKey),
]

/**
 * For the writer, once its epoch is open. Compares one backend's token with the ledger (invariant 12) and says loudly what does not fit. Nothing is destroyed.
 * Gives nothing while the backend does not answer.
 */
export const reportMaterial = async (
  { hsm, ledger, telemetry }: { readonly hsm: Hsm; readonly ledger: { view(): View }; readonly telemetry: Telemetry },
  backend: string,
  signal: AbortSignal,
): Promise<MaterialReport | undefined> => {
  const view = ledger.view()
  const material = listMaterial(view, backend)
  // What is being destroyed may be there still or gone already: neither is amiss. What was destroyed and is back is.
  const going = listVersions(view, backend, 'destroying')
  const named = new Map(
    [...material, ...going].map(({ lid, version, imported }) => [toVersionName(lid, version), imported === true]),
  )
  const inventory = await hsm.inventory(backend, signal)
  const found = inventory.ok ? await hsm.findIds(backend, material, signal) : inventory
  if (!inventory.ok || !found.ok) {
    telemetry.log('warn', 'the token could not be compared with the ledger', { backend })
    return undefined
  }
  // A crash between HSM and ledger leaves an object whose number the next rotation takes: two objects, and one is named.
  const idOf = new Map(material.map(({ lid, version }, at) => [toVersionName(lid, version), found.value[at]]))
  // An object of the running epoch may be on its way into the ledger at this moment.
  const isSettled = ({ epoch }: HsmObject) => epoch === undefined || epoch < view.at.epoch
  const isNamed = ({ lid, version, ckaIdHex, complete, imported }: HsmObject) => {
    const name = `${lid}/${version}`
    return complete && named.get(name) === imported && (idOf.get(name) ?? ckaIdHex) === ckaIdHex
  }
  const orphans = inventory.value.filter((object) => isSettled(object) && !isNamed(object))
  // Destroyed while the token was looked through is not missing.
  const living = new Set(listMaterial(ledger.view(), backend).map(({ lid, version }) => toVersionName(lid, version)))
  const missing = new Set([...idOf].flatMap(([name, id]) => (id === undefined && living.has(name) ? [name] : [])))
  for (const name of missing)
    telemetry.log('error', 'material_missing: the HSM does not hold a version of the ledger', {
      backend,
      version: name,
    })
  for (const { label } of orphans)
    telemetry.log('warn', 'orphan: the ledger does not name an HSM object', { backend, label })
  telemetry.log('info', 'token compared with ledger', {
    backend,
    versions: material.length,
    orphans: orphans.length,
    missing: missing.size,
  })
  return { backend, orphans, missing }
}
