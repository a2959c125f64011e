"""§6 of language-2.md: values in requests and answers, by sized type.

    read(json, t)      [vector] or, of a batch, [vector, ...]; Fault where it is none of these
    written(vector, t) the tensor in the API's shape: nested lists, a record an object
    decode(vector, t)  the discrete form
"""
from cajal_types import REAL, Fault, dim_of, is_discrete, keys, part_of, parts, shape


def number(j):
    """A number of a tensor."""
    if isinstance(j, str) and j in ("NaN", "Infinity", "-Infinity"):
        return float(j)
    return j if isinstance(j, (int, float)) and not isinstance(j, bool) else None


def tensor(j, t, top=True):
    """The flat numbers of a tensor of the type's shape, or None. Outside everything else a short natural is padded."""
    def nested(j, axes):
        if not axes:
            x = number(j)
            return None if x is None else [x]
        if not isinstance(j, list) or len(j) != axes[0]:
            return None
        rows = [nested(row, axes[1:]) for row in j]
        return None if None in rows else [x for row in rows for x in row]

    if t[0] == "N" and top and isinstance(j, list):
        if any(number(x) is None for x in j):
            return None
        if len(j) > t[1]:
            raise Fault("nat_bound_exceeded")
        j = j + [0] * (t[1] - len(j))
    return nested(j, shape(t))


def form(j, t):
    """The flat numbers of a discrete form, whose parts are discrete forms or, where real, tensors; or None."""
    if t[0] == "2":
        return None if not isinstance(j, bool) else [1, 0] if j else [0, 1]
    if t[0] == "N" and isinstance(j, int) and not isinstance(j, bool) and j >= 0:
        if j >= t[1]:
            raise Fault("nat_bound_exceeded")
        return [int(i == j) for i in range(t[1])]
    if t[0] == "var" and (isinstance(j, str) or isinstance(j, dict) and len(j) == 1):
        (label, inner), = [(j, 1)] if isinstance(j, str) else j.items()
        if label not in dict(t[1]) or isinstance(j, str) and part_of(t, label) != ("1",):
            return None
        x = one(inner, part_of(t, label), False)
        return x and [y for other, part in t[1] for y in (x if other == label else [0] * dim_of(part))]
    if t[0] == "rec" and isinstance(j, dict) and set(j) == set(dict(t[1])):
        return joined([one(j[label], part, False) for label, part in t[1]])
    if t[0] == "pair" and isinstance(j, list) and len(j) == 2:
        left, right = one(j[0], t[1], False), one(j[1], t[2], False)
        return left and right and [x * y for x in left for y in right]
    if t[0] == "seq" and isinstance(j, list) and len(j) == t[2]:
        return joined([one(item, t[1], False) for item in j])
    return None


def joined(found):
    return None if None in found else [x for part in found for x in part]


def one(j, t, top=True):
    found = tensor(j, t, top)
    return form(j, t) if found is None else found


def read(j, t):
    if isinstance(j, dict) and set(j) == {"values"} and isinstance(j["values"], list):
        found = [one(x, t) for x in j["values"]]
    else:
        found = [one(j, t)]
        if found == [None] and isinstance(j, list):
            found = [tensor(x, t) for x in j]
    if None in found:
        raise Fault("bad_value")
    return found


def written(vector, t):
    if t[0] == "rec":
        out, at = {}, 0
        for label, part in t[1]:
            out[label], at = written(vector[at:at + dim_of(part)], part), at + dim_of(part)
        return out

    def nested(xs, axes):
        if not axes:
            return xs[0]
        step = len(xs) // axes[0]
        return [nested(xs[i * step:(i + 1) * step], axes[1:]) for i in range(axes[0])]
    return nested(vector, shape(t))


def named(t, key):
    """The form of a basis vector of a discrete type."""
    if t[0] in ("1", "2", "N"):
        return 1 if t[0] == "1" else key == 0 if t[0] == "2" else key
    if t[0] == "var":
        part = part_of(t, key[0])
        return key[0] if part == ("1",) else {key[0]: named(part, key[1])}
    return [named(t[1], key[0]), named(t[2], key[1])]


def decode(vector, t):
    """Reading: of equal entries the first counts."""
    if t[0] in ("2", "N") or t[0] == "pair" and is_discrete(t):
        return named(t, keys(t)[vector.index(max(vector))])
    if t[0] == "var":
        largest, at = vector.index(max(vector)), 0
        for label, part in t[1]:
            if at <= largest < at + dim_of(part):
                return label if part == ("1",) else {label: decode(vector[at:at + dim_of(part)], part)}
            at += dim_of(part)
    if t[0] in ("rec", "seq"):
        out, at = [], 0
        for part in parts(t) if t[0] == "rec" else [t[1]] * t[2]:
            out.append(decode(vector[at:at + dim_of(part)], part))
            at += dim_of(part)
        return dict(zip(dict(t[1]), out)) if t[0] == "rec" else out
    return vector[0] if t in (("1",), REAL) else written(vector, t)
