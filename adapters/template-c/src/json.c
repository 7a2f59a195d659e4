#include "json.h"
#include "text.h"
#include <string.h>

enum { DEPTH_MOST = 64 };

static bool fault_at(reading_t *reading, const uint8_t *place, const char *what) {
    reading->fault_at = (size_t)(place - reading->start);
    reading->fault_what = what;
    return false;
}

bool fault(const cursor_t *cursor, const char *what) {
    return fault_at(cursor->reading, cursor->at, what);
}

/* The next byte that is no white space, without taking it; 0 at the end. */
static uint8_t peek(cursor_t *cursor) {
    while (cursor->at < cursor->end) {
        uint8_t byte = *cursor->at;
        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r') {
            return byte;
        }
        cursor->at++;
    }
    return 0;
}

bool expect(cursor_t *cursor, char byte, const char *what) {
    if (peek(cursor) != (uint8_t)byte) {
        return fault(cursor, what);
    }
    cursor->at++;
    return true;
}

static bool end(cursor_t *cursor) {
    peek(cursor);
    return cursor->at == cursor->end || fault(cursor, "end of the text");
}

bool next(cursor_t *cursor, char close, bool *first, bool *more) {
    *more = peek(cursor) != (uint8_t)close;
    if (!*more) {
        cursor->at++;
        return true;
    }
    if (*first) {
        *first = false;
        return true;
    }
    return expect(cursor, ',', "`,` or the end of the object or array");
}

static bool literal(cursor_t *cursor, const char *text) {
    size_t length = strlen(text);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, text, length) != 0) {
        return false;
    }
    cursor->at += length;
    return true;
}

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

static const uint8_t *digits_end(const uint8_t *at, const uint8_t *end) {
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at;
}

/* Moves over what can stand in a number, without check. */
static bytes_t number_bytes(cursor_t *cursor) {
    const uint8_t *start = cursor->at;
    while (cursor->at < cursor->end) {
        uint8_t byte = *cursor->at;
        if (!is_digit(byte) && byte != '-' && byte != '+' && byte != '.' && byte != 'e' && byte != 'E') {
            break;
        }
        cursor->at++;
    }
    return (bytes_t){start, (size_t)(cursor->at - start)};
}

/* JSON's grammar of numbers. */
static bool is_number(bytes_t text) {
    const uint8_t *at = text.ptr, *end = text.ptr + text.len;
    if (at < end && *at == '-') {
        at++;
    }
    const uint8_t *whole = at;
    at = digits_end(at, end);
    if (at == whole || (at - whole > 1 && *whole == '0')) {
        return false;
    }
    if (at < end && *at == '.') {
        const uint8_t *fraction = ++at;
        at = digits_end(at, end);
        if (at == fraction) {
            return false;
        }
    }
    if (at == end) {
        return true;
    }
    if (*at != 'e' && *at != 'E') {
        return false;
    }
    at++;
    if (at < end && (*at == '-' || *at == '+')) {
        at++;
    }
    return at < end && digits_end(at, end) == end;
}

static bool skip_scalar(cursor_t *cursor) {
    uint8_t byte = peek(cursor);
    if (byte == '"') {
        bytes_t unused;
        return read_text(cursor, "a string", &unused);
    }
    if (literal(cursor, "true") || literal(cursor, "false") || literal(cursor, "null")) {
        return true;
    }
    if (byte == '-' || is_digit(byte)) {
        const uint8_t *start = cursor->at;
        return is_number(number_bytes(cursor)) || fault_at(cursor->reading, start, "a number");
    }
    return fault(cursor, "a value");
}

/* Needs no stack: the nesting is a row of bits, the innermost lowest, set for an object. */
bool skip(cursor_t *cursor) {
    uint32_t depth = 0;
    uint64_t objects = 0;
    for (;;) {
        uint8_t open = peek(cursor);
        bool first = open == '{' || open == '[';
        if (first) {
            if (depth == DEPTH_MOST) {
                return fault(cursor, "at most 64 nested values");
            }
            cursor->at++;
            depth++;
            objects = objects << 1 | (open == '{');
        } else if (!skip_scalar(cursor)) {
            return false;
        }
        for (;;) {
            if (depth == 0) {
                return true;
            }
            bool object = objects & 1, more;
            if (!next(cursor, object ? '}' : ']', &first, &more)) {
                return false;
            }
            if (more) {
                bytes_t key;
                if (object && (!read_text(cursor, "a string", &key) || !expect(cursor, ':', "`:`"))) {
                    return false;
                }
                break;
            }
            depth--;
            objects >>= 1;
            first = false;
        }
    }
}

bool read_text(cursor_t *cursor, const char *what, bytes_t *text) {
    if (peek(cursor) != '"') {
        return fault(cursor, what);
    }
    const char *wrong = text_read(&cursor->at, cursor->end, text);
    return wrong == NULL || fault(cursor, wrong);
}

bool read_unsigned(cursor_t *cursor, const char *what, uint64_t *value) {
    peek(cursor);
    const uint8_t *last = digits_end(cursor->at, cursor->end);
    if (last == cursor->at || (last - cursor->at > 1 && *cursor->at == '0')) {
        return fault(cursor, what);
    }
    *value = 0;
    for (const uint8_t *at = cursor->at; at < last; at++) {
        if (!append_digit(value, (uint64_t)(*at - '0'))) {
            return fault(cursor, what);
        }
    }
    cursor->at = last;
    return true;
}

bool read_integer(cursor_t *cursor, const char *what, int64_t *value) {
    const uint8_t *start = cursor->at;
    bool negative = peek(cursor) == '-';
    cursor->at += negative;
    uint64_t magnitude;
    if (!read_unsigned(cursor, what, &magnitude)) {
        return false;
    }
    if (magnitude > INT64_MAX) {
        return fault_at(cursor->reading, start, what);
    }
    *value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
}

bool read_amount(cursor_t *cursor, const char *what, number_t *value) {
    const uint8_t *start = cursor->at;
    uint8_t byte = peek(cursor);
    const uint8_t *number_at = cursor->at;
    bytes_t text;
    if (byte == '"') {
        // An escape has no place in a number.
        if (text_read(&cursor->at, cursor->end, &text) != NULL || text.ptr != number_at + 1) {
            return fault_at(cursor->reading, number_at, what);
        }
    } else {
        text = number_bytes(cursor);
    }
    if (!decimal_parse(text, value)) {
        return fault_at(cursor->reading, number_at, what);
    }
    return value->mantissa >= 0 || fault_at(cursor->reading, start, what);
}

bool read_amount_at(cursor_t *cursor, const char *what, uint8_t scale, int64_t *mantissa) {
    const uint8_t *start = cursor->at;
    number_t number;
    if (!read_amount(cursor, what, &number)) {
        return false;
    }
    return decimal_rescale(number, scale, mantissa) || fault_at(cursor->reading, start, what);
}

static const member_t *find(const object_t *object, bytes_t key) {
    for (size_t index = 0; index < object->count; index++) {
        const member_t *member = &object->members[index];
        if (member->key.len == key.len && memcmp(member->key.ptr, key.ptr, key.len) == 0) {
            return member;
        }
    }
    return NULL;
}

bool object_parse(cursor_t *cursor, object_t *object) {
    peek(cursor);
    object->reading = cursor->reading;
    object->at = cursor->at;
    object->count = 0;
    bool first = true, more;
    if (!expect(cursor, '{', "an object")) {
        return false;
    }
    for (;;) {
        if (!next(cursor, '}', &first, &more)) {
            return false;
        }
        if (!more) {
            return true;
        }
        bytes_t key;
        if (!read_text(cursor, "a key", &key) || !expect(cursor, ':', "`:`")) {
            return false;
        }
        if (object->count == MEMBERS_MOST || find(object, key) != NULL) {
            return fault(cursor, "at most 64 members, each key once");
        }
        peek(cursor);
        const uint8_t *at = cursor->at;
        if (!skip(cursor)) {
            return false;
        }
        object->members[object->count++] = (member_t){key, at, cursor->at};
    }
}

bool object_whole(reading_t *reading, const uint8_t *ptr, size_t len, object_t *object) {
    *reading = (reading_t){ptr, 0, ""};
    cursor_t cursor = {reading, ptr, ptr + len};
    return object_parse(&cursor, object) && end(&cursor);
}

bool object_value(const object_t *object, const char *key, cursor_t *value) {
    const member_t *member = find(object, (bytes_t){(const uint8_t *)key, strlen(key)});
    if (member == NULL) {
        return fault_at(object->reading, object->at, key);
    }
    *value = (cursor_t){object->reading, member->at, member->end};
    return true;
}

bool object_is_set(const object_t *object, const char *key) {
    const member_t *member = find(object, (bytes_t){(const uint8_t *)key, strlen(key)});
    if (member == NULL) {
        return false;
    }
    cursor_t value = {object->reading, member->at, member->end};
    return !literal(&value, "null") && !literal(&value, "\"\"");
}

bool object_text(const object_t *object, const char *key, bytes_t *text) {
    cursor_t value;
    return object_value(object, key, &value) && read_text(&value, key, text) && end(&value);
}

bool object_unsigned(const object_t *object, const char *key, uint64_t *value) {
    cursor_t cursor;
    return object_value(object, key, &cursor) && read_unsigned(&cursor, key, value) && end(&cursor);
}

bool object_integer(const object_t *object, const char *key, int64_t *value) {
    cursor_t cursor;
    return object_value(object, key, &cursor) && read_integer(&cursor, key, value) && end(&cursor);
}

bool object_amount(const object_t *object, const char *key, number_t *value) {
    cursor_t cursor;
    return object_value(object, key, &cursor) && read_amount(&cursor, key, value) && end(&cursor);
}

bool bytes_equal(bytes_t bytes, const char *text) {
    return bytes.len == strlen(text) && memcmp(bytes.ptr, text, bytes.len) == 0;
}
