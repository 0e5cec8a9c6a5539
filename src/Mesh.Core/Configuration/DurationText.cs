using System.Globalization;

namespace Mesh.Core.Configuration;

/// <summary>Reads durations as Istio's users write them.</summary>
public static class DurationText
{
    /// <summary>Reads <c>90s</c>, <c>1h30m</c>, <c>250ms</c>; units are ms, s, m, h and d, and each number has one.</summary>
    public static bool TryParse(string text, out TimeSpan duration)
    {
        ArgumentNullException.ThrowIfNull(text);
        duration = TimeSpan.Zero;
        var rest = text.AsSpan();
        while (!rest.IsEmpty)
        {
            var digits = rest.IndexOfAnyExceptInRange('0', '9');
            if (digits is <= 0 or > 9)
            {
                return false;
            }

            var number = int.Parse(rest[..digits], NumberStyles.None, CultureInfo.InvariantCulture);
            rest = rest[digits..];
            var unitLength = rest.IndexOfAnyInRange('0', '9') is var next && next < 0 ? rest.Length : next;
            TimeSpan? unit = rest[..unitLength] switch
            {
                "ms" => TimeSpan.FromMilliseconds(1),
                "s" => TimeSpan.FromSeconds(1),
                "m" => TimeSpan.FromMinutes(1),
                "h" => TimeSpan.FromHours(1),
                "d" => TimeSpan.FromDays(1),
                _ => null,
            };
            if (unit is not { } known || number > (TimeSpan.MaxValue - duration) / known)
            {
                return false;
            }

            duration += known * number;
            rest = rest[unitLength..];
        }

        return text.Length > 0;
    }
}
