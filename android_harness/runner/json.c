#include "json.h"

static bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/* Length of the UTF-8 character at `s`, or 0 when there is none (overlong forms and surrogates
 * included). Safe at the end of a string: its NUL is no continuation byte. Source: RFC 3629, 4. */
static size_t utf8_length(const unsigned char *s) {
  if (s[0] < 0x80) return 1;
  if (s[0] < 0xC2 || s[0] > 0xF4 || !is_continuation(s[1])) return 0;
  if (s[0] < 0xE0) return 2;
  if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)) return 0;
  if (!is_continuation(s[2])) return 0;
  if (s[0] < 0xF0) return 3;
  if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) return 0;
  return is_continuation(s[3]) ? 4 : 0;
}

/* Writes the character at `s` and returns how many bytes it took. */
static size_t put_character(FILE *to, const unsigned char *s) {
  size_t length = utf8_length(s);
  if (length == 0) {
    fprintf(to, "\\ufffd");
    return 1;
  }
  if (s[0] == '"' || s[0] == '\\')
    fprintf(to, "\\%c", s[0]);
  else if (s[0] < 0x20 || s[0] == 0x7F)
    fprintf(to, "\\u%04x", s[0]);
  else
    fwrite(s, 1, length, to);
  return length;
}

void json_string(FILE *to, const char *text) {
  const unsigned char *s = (const unsigned char *)(text ? text : "");
  fputc('"', to);
  while (*s) s += put_character(to, s);
  fputc('"', to);
}

void json_count(FILE *to, int64_t value) {
  if (value < 0)
    fprintf(to, "null");
  else
    fprintf(to, "%lld", (long long)value);
}
