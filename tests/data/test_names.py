from uda.data.names import join_names, normalised_name, shortened


def test_normalised_names_ignore_case_spaces_hyphens_and_underscores():
    assert (
        normalised_name("Real World")
        == normalised_name("real_world")
        == normalised_name("RealWorld")
        == normalised_name("Real-World")
    )
    assert normalised_name("Art") != normalised_name("Arts")


def test_lists_of_names_are_cut():
    assert join_names([]) == ""
    assert join_names(["a", "b"], 2) == "a, b"
    assert join_names(["a", "b", "c"], 2) == "a, b and 1 more"


def test_long_names_are_shortened_to_what_file_systems_hold():
    name = "猫" * 79  # 237 bytes
    assert shortened(name) == name
    long, other = shortened(name + "犬"), shortened(name + "鳥")
    assert long != other
    assert long.startswith("猫" * 66 + "_")
    assert len(long.encode()) == 209


def test_listed_names_steer_no_terminal():
    assert join_names(["a\r\nb", "c\x1b[2J", "caf\udce9"]) == r"a\r\nb, c\x1b[2J, caf\udce9"
