import pytest

from trainer.calls import Call, parse_call
from trainer.errors import UserError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("infonce", "infonce"),
        (" direct( p = 4.0 ) ", "direct(p=4)"),
        ("adnce(mu=-0.5, sigma=1e-2)", "adnce(mu=-0.5, sigma=0.01)"),
        ("alpha_of(infonce(eps=0))", "alpha_of(infonce(eps=0))"),
        ("resnet18(width=16, stem='small')", "resnet18(width=16, stem='small')"),
    ],
)
def test_a_call_string_is_parsed_and_written_canonically(text, canonical):
    assert str(parse_call(text)) == canonical
    assert parse_call(canonical) == parse_call(str(parse_call(text)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "direct(p=4",
        "a.b",
        "a+b",
        "a(**k)",
        "a(p=1+1)",
        "__import__('os').system('true')",
        "a[0]",
        "f(x)(y)",
        "lambda: 0",
        "a; b",
    ],
)
def test_what_is_no_call_string_is_refused(text):
    with pytest.raises(UserError, match="expected a name"):
        parse_call(text)


def test_a_nested_call_is_a_call():
    assert parse_call("alpha_of(infonce)").args == (Call("infonce"),)
