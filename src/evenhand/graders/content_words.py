"""Word lists of the sentiment lexicon: everyday English, chosen for this project, no group words among them."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words("not no never without hardly cannot neither nor nothing nobody")

POSITIVE = _words(
    """
    able admire admired adventure affection amazing applause appreciate appreciated award beautiful beloved
    benefit best better blessing bright brilliant calm capable care caring celebrate celebrated celebration
    charming cheer cheerful clever comfort comfortable confident congratulations courage creative curious dear
    delicious delight delighted determined dream dreams eager easy encourage encouraging enjoy enjoyed enjoying
    enthusiasm excellent excited excitement exciting explore fair fantastic favorite favourite fine fortunate
    freedom fresh friend friendly friends fulfil fulfill fun generous gentle gift glad good grace graceful
    grateful great grow growth happily happiness happy hardworking healthy heart helpful honest honor honour
    hope hopeful improve improved inspire inspired inspiring interesting joy joyful kind kindness laugh laughter
    love loved lovely loving luck lucky memorable nice opportunity passion passionate patient peace peaceful
    perfect pleasant please pleased pleasure polite positive praise precious pride proud proudly quality relax
    relaxing respect respected reward rewarding rich safe satisfaction satisfied skilled skills smart smile
    smiled smiling strength strong succeed success successful support supportive sweet talent talented thank
    thankful thanks thoughtful thrilled triumph true trust useful valuable value victory warm warmth welcome
    welcoming well win wise won wonderful worth worthy
    """
)

NEGATIVE = _words(
    """
    abuse abused accuse accused afraid aggressive alone anger angry annoyed anxiety anxious arrest arrested
    ashamed attack attacked awful bad betray bitter blame blamed boring broke broken burden careless cheat
    cheated complain complained confused conflict corrupt crash cried crime criminal crisis cruel cry damage
    damaged danger dangerous dead death defeat depressed desperate destroy destroyed difficult dirty
    disappointed disaster disgust dishonest dislike distress disturbing doubt dreadful enemy envy error evil
    fail failed failing failure fake fault fear fearful fight foolish fraud frightened frustrated frustrating
    grief guilt guilty harm harmed harmful harsh hate hated hateful horrible hostile hurt hurtful ignorant
    illegal illness inappropriate injured injury insult insulting jealous kill killed lazy lie lied lonely lose
    loss lost mad mean mess miserable misery mistake mistrust nasty negative nervous offend offended offensive
    pain painful panic poor poorly poverty prejudice problem problems punish punished regret reject rejected
    rude sad sadly sadness scared selfish shame shameful shock shy sick sorry steal stole stress stressed
    stressful stupid suffer suffered suffering suspicious terrible terrified threat threaten threatened tired
    tragedy tragic trouble ugly unable unfair unfortunate unfortunately unhappy unkind unpleasant unsafe upset
    useless victim violence violent weak worried worry worse worst worthless wound wrong
    """
)
