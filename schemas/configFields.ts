import Type from 'typebox'
import { LIMITS } from './limits.ts'
import { Fields } from './primitives.ts'

/** A path; relative ones are relative to the configuration file. */
export const File = (description: string) =>
  Type.String({ minLength: 1, maxLength: LIMITS.configPathCharsMax, description })
/** A short name. */
export const Name = (description: string, more: { readonly default?: string } = {}) =>
  Type.String({ minLength: 1, maxLength: LIMITS.configNameCharsMax, description, ...more })
/** An address to listen on; loopback if absent. */
export const Host = (description: string) =>
  Type.String({ minLength: 1, maxLength: LIMITS.configNameCharsMax, description, default: '127.0.0.1' })
/** A TCP port. */
export const Port = (description: string, more: { readonly default?: number } = {}) =>
  Type.Integer({ minimum: 1, maximum: 65535, description, ...more })
/** Off unless it is set. */
export const Switch = (description: string) => Type.Boolean({ description, default: false })
/** A URL of this pattern. */
export const Url = (pattern: string, description: string) =>
  Type.String({ pattern, maxLength: LIMITS.configPathCharsMax, description })

/** A NATS user and the file with its password. */
export const natsUser = (user: string, description: string) =>
  Fields(
    {
      user: Name('The user name in nats.conf; its inbox is `_INBOX.<user>`.', { default: user }),
      password_file: File('Holds the password and at most one line end; read again at each attempt to connect.'),
    },
    { description },
  )
