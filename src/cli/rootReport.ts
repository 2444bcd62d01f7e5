import { toKid } from '../core/ed25519.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'

/**
 * Compares the root keys on the ledger's own token with those of the chain, the newest of which is in force, and says what does not fit.
 * A sweep concerns none of them. Nothing is destroyed.
 */
export const reportRoots = async (
  { hsm, telemetry }: { readonly hsm: Pick<Hsm, 'listRoots'>; readonly telemetry: Pick<Telemetry, 'log'> },
  { backend, roots }: { readonly backend: string; readonly roots: readonly Uint8Array[] },
  signal: AbortSignal,
): Promise<void> => {
  const listed = await hsm.listRoots(backend, signal)
  if (!listed.ok) {
    telemetry.log('warn', 'the root keys on the token could not be listed', { backend })
    return
  }
  const [held, named] = [listed.value.map(toKid), roots.map(toKid)]
  const inForce = named.at(-1) ?? ''
  if (!held.includes(inForce))
    telemetry.log('error', 'root_missing: the HSM does not show the root key in force', { backend, kid: inForce })
  for (const kid of held.filter((one) => one !== inForce))
    if (named.includes(kid)) telemetry.log('info', 'a former root key is on the token', { backend, kid })
    else telemetry.log('warn', 'the token holds a root key that the ledger does not name', { backend, kid })
}
