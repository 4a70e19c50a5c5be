/** Mistakes of YAML in words for the author of a policy. */
import type { ErrorCode } from 'yaml'

/** What is wrong, and what to do about it. */
interface Words {
  readonly message: string
  readonly hint: string
}

const OTHER_SYNTAX: Words = {
  message: 'this is not valid YAML',
  hint: 'look at this line and the one before',
}

/** The parser's own messages quote the file, and with it whatever secret the line holds. */
const SYNTAX: Partial<Record<ErrorCode, Words>> = {
  ALIAS_PROPS: {
    message: 'an alias (*name) can have no anchor or tag',
    hint: 'take the & or ! before it out',
  },
  BAD_ALIAS: {
    message: 'this is not a valid alias or anchor',
    hint: 'text that begins with * or & needs quotes',
  },
  BAD_DIRECTIVE: { message: 'unknown % line', hint: 'text that begins with % needs quotes' },
  BAD_DQ_ESCAPE: {
    message: 'unknown escape in a "quoted" text',
    hint: "double the backslash, or use 'single quotes'",
  },
  BAD_INDENT: { message: 'wrong indentation', hint: 'the keys of one map begin in the same column' },
  BAD_PROP_ORDER: {
    message: 'an anchor or tag stands in the wrong place',
    hint: 'put & or ! right before the value',
  },
  BAD_SCALAR_START: { message: 'a text cannot begin with this character', hint: 'put the text in quotes' },
  BLOCK_AS_IMPLICIT_KEY: {
    message: 'a second "key:" in one line',
    hint: 'begin a new line, or put text with ": " in quotes',
  },
  BLOCK_IN_FLOW: {
    message: 'a list or map with indentation inside [ ] or { }',
    hint: 'close the bracket, or write it all with brackets',
  },
  DUPLICATE_KEY: { message: 'a key stands twice', hint: 'keep one of them' },
  KEY_OVER_1024_CHARS: {
    message: 'a key of more than 1024 characters',
    hint: 'look for a bracket or quote that is not closed',
  },
  MISSING_CHAR: {
    message: 'something is not closed, or a space, comma or colon is missing',
    hint: 'look for quotes and brackets, and for a space after ":"',
  },
  MULTILINE_IMPLICIT_KEY: {
    message: 'a key goes over more than one line',
    hint: 'look for a colon that is missing or quotes that are not closed',
  },
  MULTIPLE_ANCHORS: { message: 'a value has more than one anchor', hint: 'keep one &name' },
  MULTIPLE_DOCS: {
    message: 'a second document begins here',
    hint: 'take the --- or ... line out: one file is one policy',
  },
  MULTIPLE_TAGS: { message: 'a value has more than one tag', hint: 'text that begins with ! needs quotes' },
  NON_STRING_KEY: { message: 'a key must be text', hint: 'put it in quotes' },
  RESOURCE_EXHAUSTION: { message: 'the file is too complex', hint: 'no policy needs that' },
  TAB_AS_INDENT: { message: 'a tab is used for indentation', hint: 'use spaces' },
  TAG_RESOLVE_FAILED: {
    message: 'unknown tag, or a tag that does not suit its value',
    hint: 'take the ! word out; text that begins with ! needs quotes',
  },
  UNEXPECTED_TOKEN: {
    message: 'this does not belong here',
    hint: 'look for an indentation, quote or bracket that is wrong in this line or the one before',
  },
  BAD_COLLECTION_TYPE: { message: 'a tag that does not suit its value', hint: 'take the ! word out' },
}

/** Of a mistake that the parser found. */
export function wordsFor(code: ErrorCode): Words {
  return SYNTAX[code] ?? OTHER_SYNTAX
}
