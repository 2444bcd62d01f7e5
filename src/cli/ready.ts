import { relative } from 'node:path'
import type { Config } from '../../schemas/config.ts'

/** What `npm start` shows a newcomer: both addresses and three commands to copy. The token is named, never printed. */
export const formatReady = (config: Config, httpAddress: string, tokenFile: string): string => {
  const token = relative(process.cwd(), tokenFile) || tokenFile
  return [
    '',
    `ready  NATS ${config.nats.servers.join(',')}  REST ${httpAddress}`,
    '',
    `  curl -s -H "Authorization: Bearer $(cat ${token})" --json '{"key_spec":"AES_256"}' ${httpAddress}/v1/keys`,
    '  ./bin/chatelaine list-keys',
    '  ./bin/chatelaine ledger verify',
    '',
    `The bootstrap token is in ${token}; it is for this machine only and expires. Ctrl-C stops everything.`,
    '',
    '',
  ].join('\n')
}
