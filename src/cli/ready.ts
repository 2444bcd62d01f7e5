import { relative } from 'node:path'
import type { Config } from '../../schemas/config.ts'

interface ReadyFacts {
  readonly config: Config
  readonly httpAddress: string
  readonly tokenFile: string
  /** Where the settings came from: the command line finds this profile by the same variables. */
  readonly env: Readonly<Record<string, string | undefined>>
}

const SETTINGS = ['KMS_DATA_DIR', 'KMS_NATS_PORT', 'KMS_HTTP_PORT'] as const

/** What `npm start` shows a newcomer: both addresses and three commands to copy. The token is named, never printed. */
export const formatReady = ({ config, httpAddress, tokenFile, env }: ReadyFacts): string => {
  const token = relative(process.cwd(), tokenFile) || tokenFile
  const set = SETTINGS.flatMap((name) => (env[name] ? [`${name}=${env[name]} `] : [])).join('')
  return [
    '',
    `ready  NATS ${config.nats.servers.join(',')}  REST ${httpAddress}`,
    '',
    `  curl -s -H "Authorization: Bearer $(cat ${token})" --json '{"key_spec":"AES_256"}' ${httpAddress}/v1/keys`,
    `  ${set}./bin/chatelaine list-keys`,
    `  ${set}./bin/chatelaine ledger verify`,
    '',
    `The bootstrap token is in ${token}; it is for this machine only and expires. Ctrl-C stops everything.`,
    '',
    '',
  ].join('\n')
}
