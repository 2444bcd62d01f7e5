import { AliasName, Fields, Lid } from '../primitives.ts'
import { claim, state } from './eventType.ts'

const alias = Fields({ name: AliasName, lid: Lid, ...claim })

/** What changed a name. `lid` is the key it names from now on; of a deleted one, the key it named. */
export const ALIAS_EVENTS = {
  AliasCreated: state(alias),
  AliasUpdated: state(alias),
  AliasDeleted: state(alias),
} as const
