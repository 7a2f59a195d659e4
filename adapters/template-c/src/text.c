#include "text.h"
#include <stdlib.h>
#include <string.h>

/* Texts that held escapes, chained, until nobody needs them. */
typedef struct decoded {
    struct decoded *previous;
    uint8_t bytes[];
} decoded_t;

static decoded_t *texts;

void forget_texts(void) {
    while (texts != NULL) {
        decoded_t *previous = texts->previous;
        free(texts);
        texts = previous;
    }
}

static uint8_t *text_space(size_t length) {
    decoded_t *text = malloc(sizeof(decoded_t) + length);
    if (text == NULL) {
        abort();
    }
    text->previous = texts;
    texts = text;
    return text->bytes;
}

static bool continues(const uint8_t *at, const uint8_t *end, int index) {
    return end - at > index && (at[index] & 0xc0) == 0x80;
}

static bool is_utf8(bytes_t text) {
    const uint8_t *at = text.ptr, *end = text.ptr + text.len;
    while (at < end) {
        uint8_t first = at[0];
        if (first < 0x80) {
            at += 1;
        } else if (first >= 0xc2 && first <= 0xdf && continues(at, end, 1)) {
            at += 2;
        } else if (first >= 0xe0 && first <= 0xef && continues(at, end, 1) && continues(at, end, 2)) {
            // No overlong forms, no surrogates.
            if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f)) {
                return false;
            }
            at += 3;
        } else if (first >= 0xf0 && first <= 0xf4 && continues(at, end, 1) && continues(at, end, 2) &&
                   continues(at, end, 3)) {
            // No overlong forms, nothing beyond U+10FFFF.
            if ((first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f)) {
                return false;
            }
            at += 4;
        } else {
            return false;
        }
    }
    return true;
}

static int hex_value(uint8_t digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool four_hex_digits(const uint8_t **at, const uint8_t *end, uint32_t *value) {
    if (end - *at < 4) {
        return false;
    }
    *value = 0;
    for (int index = 0; index < 4; index++) {
        int digit = hex_value((*at)[index]);
        if (digit < 0) {
            return false;
        }
        *value = *value << 4 | (uint32_t)digit;
    }
    *at += 4;
    return true;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (uint8_t)code;
    } else if (code < 0x800) {
        *to++ = (uint8_t)(0xc0 | code >> 6);
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (uint8_t)(0xe0 | code >> 12);
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | code >> 18);
        *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    }
    return to;
}

/* `at` is behind the `u`, `start` at the backslash. */
static const char *unicode_escape(const uint8_t **at, const uint8_t *start, const uint8_t *end, uint32_t *code) {
    if (!four_hex_digits(at, end, code)) {
        return "four hex digits";
    }
    if (*code >= 0xd800 && *code < 0xdc00 && end - *at >= 2 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        uint32_t low;
        *at += 2;
        if (!four_hex_digits(at, end, &low)) {
            return "four hex digits";
        }
        if (low < 0xdc00 || low >= 0xe000) {
            *at = start;
            return "a surrogate pair";
        }
        *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (*code >= 0xd800 && *code < 0xe000) {
        *at = start;
        return "a surrogate pair";
    }
    return NULL;
}

/* Writes the character of the escape at `at`. No escape is shorter than its character in UTF-8. */
static const char *escape(const uint8_t **at, const uint8_t *end, uint8_t **to) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const uint8_t *start = *at;
    uint8_t letter = end - start > 1 ? start[1] : 0;
    *at = end - start > 1 ? start + 2 : end;
    if (letter == 'u') {
        uint32_t code;
        const char *wrong = unicode_escape(at, start, end, &code);
        if (wrong == NULL) {
            *to = put_utf8(*to, code);
        }
        return wrong;
    }
    for (int index = 0; letters[index] != 0; index++) {
        if ((uint8_t)letters[index] == letter) {
            *(*to)++ = (uint8_t)meanings[index];
            return NULL;
        }
    }
    *at = start;
    return "an escape sequence";
}

/* The string from its first escape on; what stands before it is copied. */
static const char *escaped(const uint8_t **at, const uint8_t *start, const uint8_t *end, bytes_t *text) {
    uint8_t *space = text_space((size_t)(end - start)), *to = space;
    memcpy(space, start, (size_t)(*at - start));
    to += *at - start;
    while (*at < end) {
        uint8_t byte = **at;
        if (byte == '"') {
            *text = (bytes_t){space, (size_t)(to - space)};
            return NULL;
        }
        if (byte == '\\') {
            const char *wrong = escape(at, end, &to);
            if (wrong != NULL) {
                return wrong;
            }
        } else if (byte < 0x20) {
            return "no control character in a string";
        } else {
            *to++ = byte;
            (*at)++;
        }
    }
    return "the end of a string";
}

const char *text_read(const uint8_t **at, const uint8_t *end, bytes_t *text) {
    const uint8_t *quote = *at, *start = quote + 1;
    *at = start;
    while (*at < end && **at != '"' && **at != '\\' && **at >= 0x20) {
        (*at)++;
    }
    if (*at < end && **at == '"') {
        *text = (bytes_t){start, (size_t)(*at - start)};
    } else {
        const char *wrong = escaped(at, start, end, text);
        if (wrong != NULL) {
            return wrong;
        }
    }
    if (!is_utf8(*text)) {
        *at = quote;
        return "UTF-8";
    }
    (*at)++;
    return NULL;
}
