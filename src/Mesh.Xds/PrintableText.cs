using System.Globalization;
using System.Text;

namespace Mesh.Xds;

/// <summary>Text of others as it may stand in a log line or a message: on one line, without what a terminal obeys, and of a length that can be read.</summary>
internal static class PrintableText
{
    /// <summary>The text; what is not to be seen of it as <c>\u000A</c>, and an ellipsis for what is too much.</summary>
    /// <param name="text">The text.</param>
    /// <param name="maxLength">How much is shown, in characters.</param>
    public static string Of(string text, int maxLength)
    {
        if (text.Length <= maxLength && !text.AsSpan().ContainsAnyExceptInRange(' ', '~'))
        {
            return text;
        }

        var printable = new StringBuilder(Math.Min(text.Length, maxLength) + 1);
        foreach (var rune in text.EnumerateRunes())
        {
            var shown = IsSeen(rune) ? rune.ToString() : $"\\u{rune.Value:X4}";
            if (printable.Length + shown.Length > maxLength)
            {
                return printable.Append('…').ToString();
            }

            printable.Append(shown);
        }

        return printable.ToString();
    }

    // Format characters can turn a line round.
    private static bool IsSeen(Rune rune) => Rune.GetUnicodeCategory(rune) is not
        (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned);
}
