"""The prompt sets, drawing prompts, and seeds made by hashing."""

from collections import Counter

import numpy as np
import pytest

from genmix_aug.prompts import (
    CROSS_DOMAIN,
    IN_DOMAIN,
    PROMPT_SETS,
    full_prompt,
    parse_prompts,
    prompts_for_image,
)
from genmix_aug.seeding import hash_seed


def test_the_papers_sets():
    assert (len(IN_DOMAIN), len(CROSS_DOMAIN)) == (9, 6)
    assert len(set(PROMPT_SETS["all"])) == 15
    assert full_prompt("ukiyo-e") == "A transformed version of image into ukiyo-e"


@pytest.mark.parametrize(
    "text",
    [
        "cross-domain",
        "cross_domain",
        "Cross-Domain",
        "cross domain",
        "crossdomain",
        " CROSS-DOMAIN,",
    ],
)
def test_a_set_is_known_by_the_obvious_spellings(text):
    assert parse_prompts(text) == CROSS_DOMAIN
    assert parse_prompts([text.strip(" ,")]) == CROSS_DOMAIN


def test_sets_and_prompts_may_be_mixed():
    assert parse_prompts("in-domain,cross_domain") == PROMPT_SETS["all"]
    assert parse_prompts("snowy, cross-domain") == ("snowy", *CROSS_DOMAIN)
    assert parse_prompts("snowy, in-domain, snowy").count("snowy") == 1
    assert parse_prompts("All") == PROMPT_SETS["all"]
    assert parse_prompts("a hall, snowy") == ("a hall", "snowy")
    assert parse_prompts(["snowy", "oil, on canvas"]) == ("snowy", "oil, on canvas")


@pytest.mark.parametrize("text", ["cross-domian", "in-domian", "snowy,crosdomain", "cross-domains"])
def test_a_misspelt_set_is_no_prompt(text):
    with pytest.raises(ValueError, match="is the set (in|cross)-domain meant"):
        parse_prompts(text)


@pytest.mark.parametrize("words", ["", " , ", [], [" "]])
def test_no_prompt_at_all_is_refused(words):
    with pytest.raises(ValueError, match="no prompt in .*: name a set"):
        parse_prompts(words)


def test_no_prompt_comes_twice_before_all_were_used():
    chosen = prompts_for_image("whale", CROSS_DOMAIN, 14, seed=3)
    assert set(chosen[:6]) == set(chosen[6:12]) == set(CROSS_DOMAIN)
    assert len(set(chosen[12:])) == 2


def test_asking_for_more_keeps_the_earlier_ones():
    many = prompts_for_image("whale", IN_DOMAIN, 20)
    for count in range(20):
        assert prompts_for_image("whale", IN_DOMAIN, count) == many[:count]


def test_order_of_the_set_does_not_matter():
    backwards = prompts_for_image("whale", CROSS_DOMAIN[::-1], 6)
    assert backwards == prompts_for_image("whale", CROSS_DOMAIN, 6)


def test_prompts_are_drawn_about_evenly_over_images():
    first = Counter(prompts_for_image(f"image {k}", CROSS_DOMAIN, 1)[0] for k in range(1200))
    assert set(first) == set(CROSS_DOMAIN)
    assert all(150 < count < 250 for count in first.values())


@pytest.mark.parametrize(("prompts", "count"), [((), 1), (("snowy", "snowy"), 1), (("snowy",), -1)])
def test_senseless_requests_are_refused(prompts, count):
    with pytest.raises(ValueError, match=r"prompt|count"):
        prompts_for_image("whale", prompts, count)


def test_seeds_are_unambiguous_and_63_bits():
    parts = [
        ("a", "bc"),
        ("ab", "c"),
        ("abc",),
        (1,),
        ("1",),
        (1, 1),
        (11,),
        (-1,),
        ("", "abc"),
        (),
    ]
    seeds = [hash_seed(*each) for each in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_stay_what_they_are():
    # Golden values of this code's first version: a change would make every stored edit anew.
    assert hash_seed("edit", 0, "whale", 1) == 6768248363350041514


def test_seeds_take_numpys_integers():
    assert hash_seed(np.int64(7), "a") == hash_seed(7, "a")
    assert hash_seed(True) == hash_seed(1)


def test_seeds_take_no_other_types():
    with pytest.raises(TypeError, match="float"):
        hash_seed(0.5)
