import { toKid } from '../core/ed25519.ts'
import { ok, type Result } from '../core/result.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { readToEnd } from '../ledger/readToEnd.ts'
import { createTreeKeeper } from '../ledger/treeKeeper.ts'
import { fault, type OperatorFault } from './config.ts'
import { type OfflineLedger, recallMemories, runOffline } from './offlineLedger.ts'

/**
 * Destroys the root keys that are no longer in force, once the one that is has attested an epoch. Lists them without `yes`. Gives the
 * exit code: 0 done; 1 refused or failed.
 */
export const runDestroyFormerRoots = (
  env: NodeJS.ProcessEnv,
  flags: { readonly yes: boolean },
  sinks: Parameters<typeof runOffline>[1],
): Promise<number> => runOffline(env, sinks, (ledger) => destroyFormer(ledger, flags))

const destroyFormer = async (
  ledger: OfflineLedger,
  { yes }: { readonly yes: boolean },
): Promise<Result<void, OperatorFault>> => {
  const former = await listFormer(ledger)
  if (!former.ok) return former
  const { hsm, backend, out } = ledger
  if (former.value.length === 0) out.write('the token holds no root key of this ledger but the one in force\n')
  for (const root of former.value) {
    const name = `root ${toKid(root)}, which is not in force any more`
    if (!yes) out.write(`${name}\n`)
    else {
      const destroyed = await hsm.destroyRoot(backend, root, new AbortController().signal)
      if (!destroyed.ok) return fault(`${name}, cannot be destroyed: ${destroyed.error.message}`)
      out.write(`destroyed: ${name}\n`)
    }
  }
  if (!yes && former.value.length > 0) out.write('nothing was destroyed: add --yes to destroy them, for ever\n')
  return ok(undefined)
}

/**
 * What both the chain and the token name. A root that the chain does not name may be one to come: a commit in doubt can name it.
 */
const listFormer = async (ledger: OfflineLedger): Promise<Result<readonly Uint8Array[], OperatorFault>> => {
  const { config, pin, hsm, backend, settings, telemetry } = ledger
  const unending = new AbortController().signal
  const memories = await recallMemories(ledger, settings.required)
  if (!memories.ok) return memories
  const tree = createTreeKeeper(toLedgerFiles(config.data_dir).tree, pin.origin, telemetry)
  const read = await readToEnd(ledger, { memories: memories.value, tree: tree.file() }, unending)
  await tree.close()
  if (!read.ok) return fault(read.error.message)
  const tip = read.value
  if (tip.chain.expects === 'epoch')
    return fault('the root in force has attested no epoch yet: start the service once, and see that it writes')
  const held = await hsm.listRoots(backend, unending)
  if (!held.ok) return fault(`the HSM cannot tell its root keys: ${held.error.message}`)
  const isHeld = (root: Uint8Array): boolean => held.value.some((one) => Buffer.from(one).equals(root))
  if (!isHeld(tip.chain.root.raw)) return fault('the token does not hold the root in force: nothing is destroyed on it')
  const former = tip.roots.map(({ key }) => key.raw).filter((root) => !Buffer.from(root).equals(tip.chain.root.raw))
  return ok(former.filter(isHeld))
}
