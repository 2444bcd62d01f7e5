/** A Markdown table; bars in cells are escaped and line breaks become spaces. */
export const toTable = (heads: readonly string[], rows: readonly (readonly string[])[]): string =>
  [heads, heads.map(() => '---'), ...rows.map((cells) => cells.map(toCell))]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')

const toCell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

/** A generated page: title, where it comes from, then the parts with an empty line between. */
export const toPage = (title: string, source: string, parts: readonly string[]): string =>
  `${[`# ${title}`, `Generated from \`${source}\` by \`npm run generate\`; do not edit.`, ...parts].join('\n\n')}\n`
